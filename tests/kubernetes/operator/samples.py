"""What the original's users have in git."""

ADD_HEADER = """
apiVersion: wasme.io/v1
kind: FilterDeployment
metadata:
  labels:
    app: wasme
  name: add-header
  namespace: istio
spec:
  deployment:
    istio:
      kind: Deployment
      labels:
        app: productpage
  filter:
    config:
      '@type': type.googleapis.com/google.protobuf.StringValue
      value: world
    image: webassemblyhub.io/hxpmark/add-header:v0.0.1

"""
"""add-header.yaml of a walk-through that they wrote down, byte for byte."""
ANYWHERE = ADD_HEADER.replace("  namespace: istio\n", "")
"""The same for any namespace."""
