"""Every call of the Python client of etcd, against the server at the host and port given; fails at the first surprise."""

import io
import sys
import threading

import etcd3

client = etcd3.client(host=sys.argv[1], port=int(sys.argv[2]), timeout=10)


def expect(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {found!r}, not {wanted!r}")


def keys(pairs):
    return [metadata.key.decode() for _, metadata in pairs]


def keys_and_values():
    client.put("a", "1")
    client.put("b", "2", prev_kv=True)
    value, metadata = client.get("a")
    expect((value, metadata.key, metadata.version), (b"1", b"a", 1))
    expect(client.get("nothing"), (None, None))
    expect(client.get("a", serializable=True)[0], b"1")
    expect(keys(client.get_all(sort_order="descend", sort_target="value")), ["b", "a"])
    expect(keys(client.get_range("a", "b")), ["a"])
    client.put("p/1", "x")
    client.put("p/2", "y")
    expect(keys(client.get_prefix("p/", keys_only=True)), ["p/1", "p/2"])
    expect(client.put_if_not_exists("a", "9"), False)
    expect(client.put_if_not_exists("c", "9"), True)
    expect(client.replace("c", "9", "10"), True)
    expect(client.replace("c", "9", "11"), False)
    expect(client.delete("c", prev_kv=True, return_response=True).prev_kvs[0].value, b"10")
    expect(client.delete("c"), False)
    expect(client.delete_prefix("p/").deleted, 2)


def transactions():
    transactions = client.transactions
    succeeded, responses = client.transaction(
        compare=[transactions.value("a") == "1", transactions.version("a") > 0],
        success=[
            transactions.put("t", "1"),
            transactions.get("a"),
            transactions.txn(compare=[transactions.mod("t") > 0], success=[transactions.delete("b")], failure=[]),
        ],
        failure=[transactions.put("t", "2")],
    )
    expect(succeeded, True)
    expect(responses[1][0][0], b"1")
    expect(client.get("t")[0], b"1")
    # Compared before the transaction changed anything, when "t" did not exist.
    expect(client.get("b")[0], b"2")


def watches():
    seen, cancel = client.watch_prefix("w/", prev_kv=True)
    client.put("w/1", "1")
    client.put("w/1", "2")
    client.delete("w/1")
    events = [next(seen) for _ in range(3)]
    expect([type(event).__name__ for event in events], ["PutEvent", "PutEvent", "DeleteEvent"])
    expect(events[1].prev_value, b"1")
    cancel()
    start = events[0].mod_revision
    seen, cancel = client.watch("w/1", start_revision=start)
    expect([next(seen).value for _ in range(2)], [b"1", b"2"])
    cancel()
    threading.Timer(0.05, lambda: client.put("once", "1")).start()
    expect(client.watch_once("once", timeout=10).value, b"1")
    return start


def leases():
    lease = client.lease(1000, lease_id=77)
    expect((lease.id, lease.ttl, lease.granted_ttl), (77, 1000, 1000))
    client.put("leased", "1", lease=lease)
    expect(list(lease.keys), [b"leased"])
    expect([response.TTL for response in lease.refresh()], [1000])
    lease.revoke()
    expect(client.get("leased"), (None, None))
    try:
        client.put("leased", "1", lease=77)
    except Exception as error:
        expect("requested lease not found" in str(error), True)
    else:
        raise AssertionError("a lease that is gone was accepted")


def locks():
    with client.lock("name", ttl=10) as lock:
        expect(lock.is_acquired(), True)
        expect(client.lock("name", ttl=10).acquire(timeout=0), False)
    expect(client.lock("name", ttl=10).acquire(timeout=5), True)


def cluster():
    (member,) = client.members
    expect(member.name, "default")
    status = client.status()
    expect(status.leader.id, member.id)
    expect(bool(status.version) and status.db_size > 0, True)


def maintenance(compacted):
    client.compact(compacted + 1, physical=True)
    try:
        # The client cannot read the past; a watch of it says that it is gone.
        seen, _ = client.watch("w/1", start_revision=compacted)
        next(seen)
    except etcd3.exceptions.RevisionCompactedError as error:
        expect(error.compacted_revision, compacted + 1)
    else:
        raise AssertionError("what was compacted was watched")
    client.defragment()
    expect(client.hash(), client.hash())
    expect(list(client.list_alarms()), [])
    image = io.BytesIO()
    client.snapshot(image)
    expect(len(image.getvalue()) > 0, True)


keys_and_values()
transactions()
start = watches()
leases()
locks()
cluster()
maintenance(start)
print("passed")
