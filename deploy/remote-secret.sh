#!/usr/bin/env bash
# Prints the secret that makes a cluster a member (M-20), from the account of deploy/member. It tries the API server with that account first.
# remote-secret.sh --name CLUSTER --server URL [--context CONTEXT] [--kubeconfig FILE] [--namespace istio-system]
set -euo pipefail
name= server= namespace=istio-system; kubectl=(kubectl)
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || { echo "remote-secret: $1 needs a value" >&2; exit 64; }
  case $1 in
    --name) name=$2 ;;
    --server) server=$2 ;;
    --namespace) namespace=$2 ;;
    --context | --kubeconfig) kubectl+=("$1" "$2") ;;
    *) echo "remote-secret: unknown option $1" >&2; exit 64 ;;
  esac
  shift 2
done
[ -n "$name" ] && [ -n "$server" ] || { echo "remote-secret: --name and --server are needed" >&2; exit 64; }
of() { "${kubectl[@]}" -n "$namespace" get secret isthmus-reader-token -o "jsonpath={.data.$1}"; }
token=$(of token | base64 -d) ca=$(of 'ca\.crt')
[ -n "$token" ] && [ -n "$ca" ] || { echo "remote-secret: no token in $namespace/isthmus-reader-token: kubectl apply -k deploy/member first" >&2; exit 65; }
kubeconfig=$(cat <<Y
apiVersion: v1
kind: Config
current-context: $name
clusters: [{name: $name, cluster: {server: "$server", certificate-authority-data: $ca}}]
users: [{name: $name, user: {token: $token}}]
contexts: [{name: $name, context: {cluster: $name, user: $name}}]
Y
)
file=$(mktemp); trap 'rm -f "$file"' EXIT; printf '%s\n' "$kubeconfig" > "$file"
kubectl --kubeconfig "$file" get --raw '/apis/discovery.k8s.io/v1/endpointslices?limit=1' > /dev/null || { echo "remote-secret: $server does not let this account read" >&2; exit 65; }
cat <<Y
apiVersion: v1
kind: Secret
metadata:
  name: istio-remote-secret-$name
  namespace: $namespace
  labels: {istio/multiCluster: "true"}
  annotations: {networking.istio.io/cluster: $name}
stringData:
  $name: |
$(printf '%s\n' "$kubeconfig" | sed 's/^/    /')
Y
