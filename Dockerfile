# Two images: `operator` (every program of ShieldX, no database server) and `postgres` (a managed shard).
# Dependencies are layers of their own, so a change of source rebuilds in seconds.

FROM debian:trixie-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/shieldx
ARG PIP_CERT
COPY requirements.lock /build/
RUN /opt/shieldx/bin/pip install --no-cache-dir --no-compile --require-hashes -r /build/requirements.lock
# What only tests and compilers want is not shipped.
RUN site=$(echo /opt/shieldx/lib/python3.*/site-packages) \
 && find "$site" -depth -type d \( -name tests -o -name test -o -name __pycache__ \) -exec rm -rf {} + \
 && find "$site" \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' -o -name '*.c' -o -name '*.h' \) -delete \
 && rm -rf "$site"/pip "$site"/pip-* /opt/shieldx/bin/pip*
COPY pyproject.toml README.md /build/
COPY operator /build/operator
COPY controllers /build/controllers
RUN site=$(echo /opt/shieldx/lib/python3.*/site-packages) \
 && cp -r /build/operator/shieldx /build/controllers "$site"/ \
 && printf '#!/opt/shieldx/bin/python3\nfrom shieldx.__main__ import main\n\nmain()\n' > /opt/shieldx/bin/shieldx \
 && chmod 755 /opt/shieldx/bin/shieldx

FROM debian:trixie-slim AS operator
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man /usr/share/locale \
 && groupadd --gid 10001 shieldx \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent shieldx
COPY --from=build /opt/shieldx /opt/shieldx
ENV PATH=/opt/shieldx/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["shieldx"]
CMD ["--help"]

FROM debian:trixie-slim AS postgres
RUN apt-get update \
 && apt-get install --yes --no-install-recommends postgresql-common ca-certificates \
 && sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
 && apt-get install --yes --no-install-recommends postgresql-17 \
 && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man \
 && groupadd --gid 10002 ledger \
 && useradd --uid 10002 --gid 10002 --no-create-home --home-dir /nonexistent ledger \
 && install -d -o 10002 -g 10002 -m 700 /var/lib/postgresql/data
COPY images/postgres/entrypoint /usr/local/bin/entrypoint
ENV PATH=/usr/lib/postgresql/17/bin:/usr/bin:/bin
USER 10002:10002
VOLUME /var/lib/postgresql/data
# SIGINT is Postgres' fast shutdown: connections end, everything is flushed.
STOPSIGNAL SIGINT
ENTRYPOINT ["/usr/local/bin/entrypoint"]
