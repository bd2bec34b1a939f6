package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"etcd.alt/api/reflectionpb"
	"etcd.alt/api/wire"
	"etcd.alt/internal/rpc"
)

// reflection answers what is served, under the names of the wire. The
// descriptors are made when somebody first asks: few members are ever asked.
type reflection struct {
	services []string // served, in order
	registry func() (*protoregistry.Files, error)
}

// newReflection describes the services of methods.
func newReflection(methods []rpc.Method) *reflection {
	r := &reflection{registry: sync.OnceValues(wire.Descriptors)}
	for _, m := range methods {
		name := m.Path[1:strings.LastIndexByte(m.Path, '/')]
		if !slices.Contains(r.services, name) {
			r.services = append(r.services, name)
		}
	}
	slices.Sort(r.services)
	return r
}

// withReflection adds the methods of reflection, which describe themselves too.
// v1alpha differs by its name alone.
func withReflection(methods []rpc.Method) []rpc.Method {
	var r *reflection
	serve := func(_ context.Context, stream *rpc.Stream) error { return r.serve(stream) }
	methods = append(methods,
		rpc.Method{Path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Stream: serve},
		rpc.Method{Path: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Stream: serve})
	r = newReflection(methods)
	return methods
}

// serve answers questions until the peer has no more.
func (r *reflection) serve(stream *rpc.Stream) error {
	registry, err := r.registry()
	if err != nil {
		return err
	}
	sent := map[string]bool{} // paths of files this stream has been sent
	for {
		req := &reflectionpb.ServerReflectionRequest{}
		switch err := receive(stream, req); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		res := r.answer(registry, req, sent)
		res.ValidHost, res.OriginalRequest = req.Host, req
		if err := stream.Send(res); err != nil {
			return err
		}
	}
}

func (r *reflection) answer(registry *protoregistry.Files, req *reflectionpb.ServerReflectionRequest, sent map[string]bool) *reflectionpb.ServerReflectionResponse {
	switch q := req.MessageRequest.(type) {
	case *reflectionpb.ServerReflectionRequest_ListServices:
		list := &reflectionpb.ListServiceResponse{}
		for _, name := range r.services {
			list.Service = append(list.Service, &reflectionpb.ServiceResponse{Name: name})
		}
		return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list}}
	case *reflectionpb.ServerReflectionRequest_FileByFilename:
		file, err := registry.FindFileByPath(q.FileByFilename)
		if err != nil {
			return refusal(codes.NotFound, fmt.Sprintf("file %q is not known", q.FileByFilename))
		}
		return withFile(file, sent)
	case *reflectionpb.ServerReflectionRequest_FileContainingSymbol:
		d, err := registry.FindDescriptorByName(protoreflect.FullName(q.FileContainingSymbol))
		if err != nil {
			return refusal(codes.NotFound, fmt.Sprintf("symbol %q is not known", q.FileContainingSymbol))
		}
		return withFile(d.ParentFile(), sent)
	case *reflectionpb.ServerReflectionRequest_FileContainingExtension:
		return refusal(codes.NotFound, fmt.Sprintf("%s has no extension %d", q.FileContainingExtension.GetContainingType(), q.FileContainingExtension.GetExtensionNumber()))
	case *reflectionpb.ServerReflectionRequest_AllExtensionNumbersOfType:
		if _, err := registry.FindDescriptorByName(protoreflect.FullName(q.AllExtensionNumbersOfType)); err != nil {
			return refusal(codes.NotFound, fmt.Sprintf("type %q is not known", q.AllExtensionNumbersOfType))
		}
		return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_AllExtensionNumbersResponse{
			AllExtensionNumbersResponse: &reflectionpb.ExtensionNumberResponse{BaseTypeName: q.AllExtensionNumbersOfType},
		}}
	}
	return refusal(codes.InvalidArgument, "the request asks nothing that is known")
}

func refusal(code codes.Code, text string) *reflectionpb.ServerReflectionResponse {
	return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_ErrorResponse{
		ErrorResponse: &reflectionpb.ErrorResponse{ErrorCode: int32(code), ErrorMessage: text},
	}}
}

// withFile sends a file and what it imports, but for what was sent before. The
// file that was asked for is always sent, and stands first.
func withFile(file protoreflect.FileDescriptor, sent map[string]bool) *reflectionpb.ServerReflectionResponse {
	res := &reflectionpb.FileDescriptorResponse{}
	delete(sent, file.Path())
	for queue := []protoreflect.FileDescriptor{file}; len(queue) > 0; queue = queue[1:] {
		f := queue[0]
		if sent[f.Path()] {
			continue
		}
		sent[f.Path()] = true
		b, err := proto.Marshal(protodesc.ToFileDescriptorProto(f))
		if err != nil {
			return refusal(codes.Internal, err.Error())
		}
		res.FileDescriptorProto = append(res.FileDescriptorProto, b)
		for i := range f.Imports().Len() {
			queue = append(queue, f.Imports().Get(i).FileDescriptor)
		}
	}
	return &reflectionpb.ServerReflectionResponse{MessageResponse: &reflectionpb.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: res}}
}
