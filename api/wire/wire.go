// Package wire knows our messages and services by the names that peers know
// them by. Their proto packages have names of our own, so that a program may
// link the public client's messages beside ours; on the wire, and to whoever
// asks what is served, they are etcdserverpb.KV and so on.
package wire

import (
	"fmt"
	"path"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"etcd.alt/api/authpb"
	"etcd.alt/api/electionpb"
	"etcd.alt/api/etcdserverpb"
	"etcd.alt/api/healthpb"
	"etcd.alt/api/lockpb"
	"etcd.alt/api/mvccpb"
	"etcd.alt/api/reflectionpb"
)

// file is one of our files and the package it stands for on the wire.
type file struct {
	ours protoreflect.FileDescriptor
	pkg  string
}

// files come after what they import. Reflection has two names.
func files() []file {
	return []file{
		{mvccpb.File_api_mvccpb_mvcc_proto, "mvccpb"},
		{authpb.File_api_authpb_auth_proto, "authpb"},
		{etcdserverpb.File_api_etcdserverpb_rpc_proto, "etcdserverpb"},
		{lockpb.File_api_lockpb_lock_proto, "v3lockpb"},
		{electionpb.File_api_electionpb_election_proto, "v3electionpb"},
		{healthpb.File_api_healthpb_health_proto, "grpc.health.v1"},
		{reflectionpb.File_api_reflectionpb_reflection_proto, "grpc.reflection.v1"},
		{reflectionpb.File_api_reflectionpb_reflection_proto, "grpc.reflection.v1alpha"},
	}
}

// Method is one RPC of the interface, served or not.
type Method struct {
	Path                         string // "/etcdserverpb.KV/Put"
	Service, Name                string // "etcdserverpb.KV", "Put"
	Request, Response            protoreflect.MessageType
	ClientStreams, ServerStreams bool
}

// Type is the kind of RPC in the words of metrics: "unary", "client_stream",
// "server_stream" or "bidi_stream".
func (m *Method) Type() string {
	switch {
	case m.ClientStreams && m.ServerStreams:
		return "bidi_stream"
	case m.ClientStreams:
		return "client_stream"
	case m.ServerStreams:
		return "server_stream"
	}
	return "unary"
}

// Methods are all RPCs that the interface has, in the order of the files.
func Methods() []Method {
	var all []Method
	for _, f := range files() {
		services := f.ours.Services()
		for i := range services.Len() {
			s := services.Get(i)
			name := f.pkg + "." + string(s.Name())
			methods := s.Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				all = append(all, Method{
					Path: "/" + name + "/" + string(m.Name()), Service: name, Name: string(m.Name()),
					Request: messageType(m.Input()), Response: messageType(m.Output()),
					ClientStreams: m.IsStreamingClient(), ServerStreams: m.IsStreamingServer(),
				})
			}
		}
	}
	return all
}

// messageType finds the Go type of one of our messages, which are all linked.
func messageType(d protoreflect.MessageDescriptor) protoreflect.MessageType {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(fmt.Sprintf("wire: %s is not linked: %v", d.FullName(), err))
	}
	return t
}

// Descriptors returns a registry of its own with the files under the names of
// the wire.
func Descriptors() (*protoregistry.Files, error) {
	all := files()
	r := &renaming{packages: map[string]string{}, paths: map[string]string{}}
	for _, f := range all {
		r.packages[string(f.ours.Package())] = f.pkg
		r.paths[f.ours.Path()] = filePath(f)
	}
	registry := &protoregistry.Files{}
	for _, f := range all {
		r.packages[string(f.ours.Package())] = f.pkg // the second name of a file, the second time
		d, err := protodesc.NewFile(r.file(f), registry)
		if err != nil {
			return nil, fmt.Errorf("wire: %s: %w", f.pkg, err)
		}
		if err := registry.RegisterFile(d); err != nil {
			return nil, fmt.Errorf("wire: %s: %w", f.pkg, err)
		}
	}
	return registry, nil
}

func filePath(f file) string {
	return strings.ReplaceAll(f.pkg, ".", "/") + "/" + path.Base(f.ours.Path())
}

// renaming puts our packages and files under other names.
type renaming struct{ packages, paths map[string]string }

func (r *renaming) file(f file) *descriptorpb.FileDescriptorProto {
	d := protodesc.ToFileDescriptorProto(f.ours)
	d.Package, d.Name, d.Options = proto.String(f.pkg), proto.String(filePath(f)), nil
	for i, dep := range d.Dependency {
		if to, ours := r.paths[dep]; ours {
			d.Dependency[i] = to
		}
	}
	for _, m := range d.MessageType {
		r.message(m)
	}
	for _, s := range d.Service {
		for _, m := range s.Method {
			m.InputType, m.OutputType = r.name(m.InputType), r.name(m.OutputType)
		}
	}
	return d
}

func (r *renaming) message(m *descriptorpb.DescriptorProto) {
	for _, f := range m.Field {
		f.TypeName = r.name(f.TypeName)
	}
	for _, n := range m.NestedType {
		r.message(n)
	}
}

// name renames a reference, ".package.Message".
func (r *renaming) name(s *string) *string {
	if s == nil {
		return nil
	}
	for from, to := range r.packages {
		if rest, ok := strings.CutPrefix(*s, "."+from+"."); ok {
			return proto.String("." + to + "." + rest)
		}
	}
	return s
}
