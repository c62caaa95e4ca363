"""What the tests here read from the API server, and the rights that they give."""

import threading

from tests.kubernetes.cluster.accounts import wait_granted
from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import NodeStatus


def events(api, options, ref):
    found = api.list(f"/api/v1/namespaces/{options.namespace}/events")
    return [each for each in found if each["metadata"].get("annotations", {}).get("cache.wasme.io/image_ref") == ref]


def data(api, options):
    return api.get(f"/api/v1/namespaces/{options.namespace}/configmaps/{options.name}")["data"]


def grant(api, namespace, user, rules):
    group = "rbac.authorization.k8s.io"
    metadata = {"name": user, "namespace": namespace}
    api.apply({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
    bound = {
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
    }
    api.apply({"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": metadata} | bound)
    wait_granted(api, user, namespace, rules)


def mutations(control_plane, since):
    return [
        (event["verb"], event["requestURI"])
        for event in control_plane.audit(since)
        if event["verb"] in ("create", "update", "patch", "delete", "deletecollection")
        and "wasme" in event.get("userAgent", "wasme")
    ]


def daemon_set(api, options):
    return api.get(f"/apis/apps/v1/namespaces/{options.namespace}/daemonsets/{options.name}")


def originals_daemon_set(options):
    """What `wasme deploy istio` 0.0.33 created: no env, no labels, the original's image."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": options.name, "namespace": options.namespace},
        "spec": {
            "selector": {"matchLabels": {"app": options.name}},
            "template": {
                "metadata": {"labels": {"app": options.name}},
                "spec": {
                    "serviceAccountName": options.name,
                    "volumes": [
                        {
                            "name": "cache-dir",
                            "hostPath": {"path": "/var/local/lib/wasme-cache", "type": "DirectoryOrCreate"},
                        },
                        {
                            "name": "config",
                            "configMap": {
                                "name": options.name,
                                "items": [{"key": "images", "path": "images.txt"}],
                            },
                        },
                        {"name": "leftover", "emptyDir": {}},
                    ],
                    "containers": [
                        {
                            "name": options.name,
                            "image": "quay.io/solo-io/wasme:0.0.33",
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["sh", "-c", "by hand"],
                            "args": ["cache", "--directory", "/var/local/lib/wasme-cache"],
                            "volumeMounts": [
                                {"mountPath": "/var/local/lib/wasme-cache", "name": "cache-dir"},
                                {"mountPath": "/etc/wasme-cache", "name": "config"},
                            ],
                        }
                    ],
                },
            },
        },
    }


def told(caplog):
    ours = [record for record in caplog.records if record.name.startswith("wasme.deploy.cache")]
    return [(record.getMessage(), record.__dict__.get("fields")) for record in ours]


class Cache:
    """A cache whose agents are the test: ``tell(node, ...)`` writes what one tells."""

    def __init__(self, api, namespace):
        self.api = api
        self.options = CacheOptions(namespace=namespace)
        metadata = {"name": self.options.name, "namespace": namespace}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"images": ""}}
        self.uid = api.create(made)["metadata"]["uid"]

    @property
    def data(self):
        return self.api.get(f"/api/v1/namespaces/{self.options.namespace}/configmaps/{self.options.name}")

    def tell(self, node, *images, ready=("apps",), observed=None, problems=()):
        version = self.data["metadata"]["resourceVersion"] if observed is None else observed
        status = NodeStatus(node, "0.1.0", version, ready, images, problems)
        self.api.apply(protocol.status_object(self.options.name, self.options.namespace, self.uid, status))

    def later(self, seconds, *args, **settings):
        thread = threading.Timer(seconds, self.tell, args, settings)
        thread.daemon = True
        thread.start()
        return thread
