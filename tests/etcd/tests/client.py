"""Every call of the Python client of etcd, against the server at the host and port given; fails at the first surprise."""

import io
import sys
import threading

import etcd3
import grpc

host, port = sys.argv[1], int(sys.argv[2])
client = etcd3.client(host=host, port=port, timeout=10)


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


def alarms():
    (member,) = client.members
    # No number of a member is all of them, in the client; in etcd it is a member without a number.
    expect(show(client.create_alarm(member.id)), [(1, True)])
    expect(show(client.list_alarms()), [(1, True)])
    refused(etcd3.exceptions.Etcd3Exception, lambda: client.put("full", "1"), "database space exceeded")
    expect(client.get("full"), (None, None))
    expect(show(client.disarm_alarm(member.id)), [(1, True)])
    expect(show(client.list_alarms()), [])
    client.put("full", "1")


def show(alarms):
    (member,) = client.members
    return [(alarm.alarm_type, alarm.member_id == member.id) for alarm in alarms]


def refused(kind, call, text):
    """The client hides some errors behind its own; their cause has the text."""
    try:
        call()
    except (kind, grpc.RpcError) as error:
        if text not in f"{error} {error.__cause__} {error.__context__}":
            raise AssertionError(f"{error!r} of {error.__context__!r} does not say {text!r}") from error
    else:
        raise AssertionError(f"not refused: {text}")


def logged_in(user, password):
    user = etcd3.client(host=host, port=port, user=user, password=password, timeout=10)
    # It sends its token twice; the second way, newer versions of grpc refuse without TLS.
    user.call_credentials = user.watcher._credentials = None
    return user


def users():
    """The client logs in, and sends its token with everything; users and roles are managed by its bare stubs."""
    rpc = etcd3.etcdrpc

    def manage(method, request, token=None):
        metadata = (("token", token),) if token else None
        return getattr(rpc.AuthStub(client.channel), method)(request, 10, metadata=metadata)

    manage("UserAdd", rpc.AuthUserAddRequest(name="root", password="secret"))
    manage("RoleAdd", rpc.AuthRoleAddRequest(name="root"))
    manage("UserGrantRole", rpc.AuthUserGrantRoleRequest(user="root", role="root"))
    manage("UserAdd", rpc.AuthUserAddRequest(name="ann", password="pw"))
    manage("RoleAdd", rpc.AuthRoleAddRequest(name="app"))
    manage("UserGrantRole", rpc.AuthUserGrantRoleRequest(user="ann", role="app"))
    grant = rpc.AuthRoleGrantPermissionRequest(name="app")
    grant.perm.permType, grant.perm.key, grant.perm.range_end = 2, b"app/", b"app0"
    manage("RoleGrantPermission", grant)
    manage("AuthEnable", rpc.AuthEnableRequest())
    nothing = grpc.RpcError
    refused(nothing, lambda: client.get("app/1"), "user name is empty")
    wrong = lambda: etcd3.client(host=host, port=port, user="ann", password="no", timeout=10)
    refused(nothing, wrong, "authentication failed, invalid user ID or password")
    root, ann = logged_in("root", "secret"), logged_in("ann", "pw")
    ann.put("app/1", "v")
    expect(ann.get("app/1")[0], b"v")
    expect(keys(ann.get_prefix("app/")), ["app/1"])
    denied = "permission denied"
    refused(nothing, lambda: ann.put("other", "v"), denied)
    refused(nothing, lambda: ann.delete("other"), denied)
    refused(nothing, lambda: ann.get("other"), denied)
    refused(nothing, lambda: list(ann.get_all()), denied)
    # etcd 3.4 has other codes here, and other words before it.
    refused(Exception, lambda: ann.snapshot(io.BytesIO()), denied)
    transaction = lambda key: ann.transaction(
        compare=[ann.transactions.version("app/1") > 0], success=[ann.transactions.put(key, "t")], failure=[]
    )
    expect(transaction("app/2")[0], True)
    refused(nothing, lambda: transaction("other"), denied)
    lease = ann.lease(1000)
    ann.put("app/leased", "1", lease=lease)
    lease.revoke()
    expect(ann.get("app/leased"), (None, None))
    seen, cancel = ann.watch_prefix("app/", start_revision=ann.get("app/1")[1].mod_revision)
    expect(next(seen).key, b"app/1")
    cancel()
    expect(root.get("app/1")[0], b"v")
    root.put("other", "v")
    token = dict(root.metadata)["token"]
    expect(list(manage("UserList", rpc.AuthUserListRequest(), token).users), ["ann", "root"])
    expect(list(manage("UserGet", rpc.AuthUserGetRequest(name="ann"), token).roles), ["app"])
    expect(list(manage("RoleList", rpc.AuthRoleListRequest(), token).roles), ["app", "root"])
    (perm,) = manage("RoleGet", rpc.AuthRoleGetRequest(role="app"), token).perm
    expect((perm.permType, perm.key, perm.range_end), (2, b"app/", b"app0"))
    revoke = rpc.AuthRoleRevokePermissionRequest(role="app", key=b"app/", range_end=b"app0")
    manage("RoleRevokePermission", revoke, token)
    refused(nothing, lambda: ann.get("app/1"), denied)
    manage("UserChangePassword", rpc.AuthUserChangePasswordRequest(name="ann", password="new"), token)
    # Who had the old password is not known any more.
    refused(nothing, lambda: ann.get("app/1"), "invalid auth token")
    manage("UserRevokeRole", rpc.AuthUserRevokeRoleRequest(name="ann", role="app"), token)
    manage("RoleDelete", rpc.AuthRoleDeleteRequest(role="app"), token)
    manage("UserDelete", rpc.AuthUserDeleteRequest(name="ann"), token)
    manage("AuthDisable", rpc.AuthDisableRequest(), token)
    expect(client.get("other")[0], b"v")


keys_and_values()
transactions()
start = watches()
leases()
locks()
cluster()
maintenance(start)
alarms()
users()
print("passed")
