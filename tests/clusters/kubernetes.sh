#!/bin/bash
# A Kubernetes of one node, inside namespaces of its own: `unshare --net --mount --pid --fork --kill-child --mount-proc
# bash kubernetes.sh FOLDER BINARIES IMAGE`. Everything ends with this process. Ready once FOLDER/started is there.
set -e
W=$1 B=$2 IMAGE=$3
PATH=$B:$PATH:/usr/sbin:/sbin
mkdir -p "$W"/{etcd,run,logs,kubelet,cni,containerd} && cd "$W"
ip link set lo up
ip link add cluster0 type bridge && ip addr add 10.88.0.1/24 dev cluster0 && ip link set cluster0 up
ip route add default dev cluster0
mount --make-rprivate /
mkdir -p /run/containerd && mount --bind run /run/containerd

openssl genrsa -out sa.key 2048 2>/dev/null && openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test 2>/dev/null
cert() { # NAME SUBJECT ALTERNATIVES
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$1.crt" -days 2 -extfile "$1.ext" 2>/dev/null
}
cert api /CN=api IP:127.0.0.1,IP:10.88.0.1,IP:10.96.0.1,DNS:localhost
cert admin /O=system:masters/CN=admin DNS:admin
cert node /O=system:nodes/CN=system:node:node-a DNS:node-a,IP:10.88.0.1
for who in admin node; do
  cat > $who.conf <<X
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $W/ca.crt}}]
users: [{name: $who, user: {client-certificate: $W/$who.crt, client-key: $W/$who.key}}]
contexts: [{name: test, context: {cluster: test, user: $who, namespace: default}}]
current-context: test
X
done

etcd --data-dir etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster default=http://127.0.0.1:2380 --unsafe-no-fsync > logs/etcd 2>&1 &
cat > api.sh <<X
exec kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address=10.88.0.1 --secure-port=6443 \
  --tls-cert-file=api.crt --tls-private-key-file=api.key --client-ca-file=ca.crt --cert-dir=. \
  --service-account-key-file=sa.pub --service-account-signing-key-file=sa.key \
  --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.96.0.0/24 \
  --authorization-mode=Node,RBAC --kubelet-client-certificate=admin.crt --kubelet-client-key=admin.key \
  --kubelet-preferred-address-types=InternalIP --allow-privileged=true
X
# It is started again when it was killed, as a kubelet would.
(while true; do rm -f api.down.ok; bash api.sh >> logs/api 2>&1 & echo $! > api.pid; wait $! || true
  while [ -e api.down ]; do sleep 0.1; done; done) &
until kubectl --kubeconfig admin.conf get --raw /readyz > /dev/null 2>&1; do sleep 0.2; done
kube-controller-manager --kubeconfig=admin.conf --service-account-private-key-file=sa.key --root-ca-file=ca.crt \
  --leader-elect=false --bind-address=127.0.0.1 > logs/controllers 2>&1 &
kube-scheduler --kubeconfig=admin.conf --leader-elect=false --bind-address=127.0.0.1 > logs/scheduler 2>&1 &

cat > containerd.toml <<X
version = 2
root = "$W/containerd"
state = "$W/run/state"
[grpc]
  address = "$W/run/cd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/test/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$W/cni"
X
cat > cni/10-bridge.conf <<X
{"cniVersion": "0.3.1", "name": "pods", "type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": {"type":
 "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "$W/cni-data"}}
X
containerd --config containerd.toml > logs/containerd 2>&1 &
until ctr -a run/cd.sock version > /dev/null 2>&1; do sleep 0.2; done
ctr -a run/cd.sock -n k8s.io images import "$IMAGE" > logs/import 2>&1
cat > kubelet.yaml <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $W/ca.crt}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$(basename "$W")
enforceNodeAllocatable: []
failSwapOn: false
tlsCertFile: $W/node.crt
tlsPrivateKeyFile: $W/node.key
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
nodeStatusUpdateFrequency: 2s
resolvConf: $W/resolv.conf
X
echo "nameserver 127.0.0.1" > resolv.conf
for kind in cpu cpuacct cpuset memory devices freezer blkio pids systemd hugetlb perf_event net_cls; do
  if [ -d /sys/fs/cgroup/$kind ]; then mkdir -p "/sys/fs/cgroup/$kind/$(basename "$W")"; fi
done
kubelet --config=kubelet.yaml --kubeconfig=node.conf --hostname-override=node-a --node-ip=10.88.0.1 \
  --container-runtime=remote --container-runtime-endpoint="unix://$W/run/cd.sock" --root-dir="$W/kubelet" \
  --cert-dir="$W/kubelet-pki" --volume-plugin-dir="$W/plugins" > logs/kubelet 2>&1 &
until kubectl --kubeconfig admin.conf get node node-a 2> /dev/null | grep -q ' Ready'; do sleep 0.3; done
# GPUs that are none: the scheduler counts them all the same.
kubectl --kubeconfig admin.conf proxy --port 8001 > logs/proxy 2>&1 &
until curl -sf http://127.0.0.1:8001/api > /dev/null; do sleep 0.1; done
curl -sf -X PATCH -H 'Content-Type: application/merge-patch+json' http://127.0.0.1:8001/api/v1/nodes/node-a/status \
  -d '{"status": {"capacity": {"nvidia.com/gpu": "2"}}}' > logs/gpus
touch started
wait
