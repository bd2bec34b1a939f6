"""python3-etcd3 as a user who may read and write a/, and nothing else."""

import sys

import etcd3
import grpc

host, port, user, password, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]


def refused(code, do):
    try:
        do()
    except grpc.RpcError as e:
        assert e.code() == code, e
    else:
        raise AssertionError("it was not refused")


c = etcd3.client(host=host, port=port, ca_cert=ca, user=user, password=password)
c.put("a/k", "v")
assert c.get("a/k")[0] == b"v"
ok, _ = c.transaction(
    compare=[c.transactions.value("a/k") == "v"],
    success=[c.transactions.put("a/k", "w")],
    failure=[],
)
assert ok and c.get("a/k")[0] == b"w"
refused(grpc.StatusCode.PERMISSION_DENIED, lambda: c.put("b", "v"))
refused(grpc.StatusCode.PERMISSION_DENIED, lambda: c.get("b"))
refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: etcd3.client(host=host, port=port, ca_cert=ca).get("a/k"))
refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: etcd3.client(host=host, port=port, ca_cert=ca, user=user, password="wrong"))
print("all of it holds")
