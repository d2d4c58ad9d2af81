# The node image: agent, ExaBGP, BIRD and the tools to look around. `make image` builds it (tools/image.py): it puts the
# wheels of calicopy and of all it needs into the build context, so that nothing is fetched from a package index here.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY wheels /wheels
RUN python3 -m venv --without-pip /opt/calicopy \
 && python3 -m venv /installer \
 && /installer/bin/pip --python /opt/calicopy/bin/python install --no-index --find-links /wheels --no-compile calicopy \
 && /opt/calicopy/bin/python -m compileall -q /opt/calicopy/lib

FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    bird2 iproute2 iputils-ping nftables procps python3 tcpdump \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system calicopy
COPY --from=build /opt/calicopy /opt/calicopy
RUN ln -s /opt/calicopy/bin/calicopy /usr/local/bin/calicopy

# The cluster file is mounted, the state directory too where it is to outlive the container.
STOPSIGNAL SIGTERM
# Whether work may be given to the node, from the socket in the default run directory: docs/operations.md, Readiness.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python3", "-c", "import socket as s; c = s.socket(s.AF_UNIX); c.settimeout(2); c.connect('/run/calicopy/readyz.sock'); c.sendall(b'GET /readyz HTTP/1.1\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in c.recv(64))"]
CMD ["calicopy", "node", "--config", "/etc/calicopy/cluster.yaml"]
