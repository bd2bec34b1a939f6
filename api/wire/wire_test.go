package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestDescriptorsHaveTheNamesOfTheWire(t *testing.T) {
	registry, err := Descriptors()
	require.NoError(t, err)
	require.Equal(t, len(files()), registry.NumFiles())
	for _, name := range []string{"etcdserverpb.KV", "etcdserverpb.KV.Range", "mvccpb.KeyValue", "authpb.Permission", "v3lockpb.Lock", "v3electionpb.Election",
		"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "etcdserverpb.RangeRequest.SortOrder"} {
		_, err := registry.FindDescriptorByName(protoreflect.FullName(name))
		require.NoError(t, err, name)
	}
	// No name of ours is left anywhere.
	registry.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		require.NotContains(t, f.Path(), "api/")
		for i := range f.Imports().Len() {
			require.NotContains(t, f.Imports().Get(i).Path(), "api/")
		}
		var walk func(protoreflect.MessageDescriptors)
		walk = func(ms protoreflect.MessageDescriptors) {
			for i := range ms.Len() {
				m := ms.Get(i)
				require.False(t, strings.HasPrefix(string(m.FullName()), "etcd."), m.FullName())
				for j := range m.Fields().Len() {
					if f := m.Fields().Get(j); f.Message() != nil {
						require.False(t, strings.HasPrefix(string(f.Message().FullName()), "etcd."), f.FullName())
						require.False(t, f.Message().IsPlaceholder(), f.FullName())
					}
				}
				walk(m.Messages())
			}
		}
		walk(f.Messages())
		return true
	})
	v1, _ := registry.FindDescriptorByName("grpc.reflection.v1.ServerReflection.ServerReflectionInfo")
	require.Equal(t, protoreflect.FullName("grpc.reflection.v1.ServerReflectionRequest"), v1.(protoreflect.MethodDescriptor).Input().FullName())
	alpha, _ := registry.FindDescriptorByName("grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo")
	require.Equal(t, protoreflect.FullName("grpc.reflection.v1alpha.ServerReflectionRequest"), alpha.(protoreflect.MethodDescriptor).Input().FullName())
}

func TestMethods(t *testing.T) {
	all := Methods()
	at := func(path string) *Method {
		i := slices.IndexFunc(all, func(m Method) bool { return m.Path == path })
		require.GreaterOrEqual(t, i, 0, path)
		return &all[i]
	}
	require.Equal(t, "unary", at("/etcdserverpb.KV/Put").Type())
	require.Equal(t, "server_stream", at("/etcdserverpb.KV/RangeStream").Type())
	require.Equal(t, "bidi_stream", at("/etcdserverpb.Watch/Watch").Type())
	require.Equal(t, protoreflect.Name("LeaderRequest"), at("/v3electionpb.Election/Observe").Request.Descriptor().Name())
	require.Equal(t, "etcdserverpb.KV", at("/etcdserverpb.KV/Put").Service)
	require.Equal(t, "Put", at("/etcdserverpb.KV/Put").Name)
}
