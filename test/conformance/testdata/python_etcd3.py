"""What python3-etcd3 can do, against the member at the arguments' host and port."""

import sys
import threading

import etcd3

host, port = sys.argv[1], int(sys.argv[2])
c = etcd3.client(host=host, port=port)


def wait(event, what):
    assert event.wait(20), what


# Keys and transactions.
c.put("k", "v")
value, meta = c.get("k")
assert value == b"v" and meta.version == 1, (value, meta.version)
assert c.put_if_not_exists("k", "w") is False
assert c.replace("k", "v", "w") is True
assert [v for v, _ in c.get_prefix("k")] == [b"w"]
ok, responses = c.transaction(
    compare=[c.transactions.value("k") == "w", c.transactions.version("k") > 0],
    success=[c.transactions.put("k", "x"), c.transactions.get("k")],
    failure=[c.transactions.delete("k")],
)
assert ok and responses[1][0][0] == b"x", responses

# Watches: live, with what was before, and from the past.
seen, done = [], threading.Event()


def look(response):
    seen.extend(response.events)
    if len(seen) >= 3:
        done.set()


first = c.get("k")[1].mod_revision
watch = c.add_watch_prefix_callback("w/", look, prev_kv=True)
c.put("w/a", "1")
c.put("w/a", "2")
c.delete("w/a")
wait(done, seen)
assert [type(e).__name__ for e in seen] == ["PutEvent", "PutEvent", "DeleteEvent"], seen
assert [e.prev_value for e in seen] == [b"", b"1", b"2"], [e.prev_value for e in seen]
c.cancel_watch(watch)
events, cancel = c.watch_prefix("w/", start_revision=first)
again = [next(events) for _ in range(3)]
cancel()
assert [e.mod_revision for e in again] == [e.mod_revision for e in seen]
c.compact(seen[-1].mod_revision)
try:
    events, cancel = c.watch("w/a", start_revision=first)
    next(events)
    raise AssertionError("what is compacted was told")
except etcd3.exceptions.RevisionCompactedError as e:
    assert e.compacted_revision == seen[-1].mod_revision

# Leases.
lease = c.lease(2)
c.put("leased", "v", lease=lease)
assert list(lease.keys) == [b"leased"]
lease.refresh()
assert lease.granted_ttl == 2 and 0 <= lease.remaining_ttl <= 2
gone = threading.Event()
c.add_watch_callback("leased", lambda response: gone.set())
wait(gone, "the lease does not end")
assert c.get("leased") == (None, None)
other = c.lease(60)
c.put("leased", "v", lease=other)
other.revoke()
assert c.get("leased") == (None, None)

# Locks. (To wait for one is more than Debian's package can do: it calls its own
# library wrongly then.)
lock = c.lock("lock", ttl=20)
assert lock.acquire(timeout=10) and lock.is_acquired()
other = etcd3.client(host=host, port=port).lock("lock", ttl=20)
assert not other.is_acquired()
assert lock.release()
assert other.acquire(timeout=10) and other.is_acquired()
assert not lock.is_acquired()
other.release()

# Members.
assert len(list(c.members)) == 1
assert c.status().leader is not None
print("all of it holds")
