# Two images: `operator` (every program of ShieldX, no database server) and `postgres` (a managed shard).
# Dependencies are layers of their own, so a change of source rebuilds in seconds.

FROM debian:trixie-slim AS dependencies
RUN apt-get update \
 && apt-get install --yes --no-install-recommends binutils ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt
RUN python3 -m venv /opt/shieldx
ARG PIP_CERT
COPY requirements.lock /build/
RUN /opt/shieldx/bin/pip install --no-cache-dir --no-compile --require-hashes -r /build/requirements.lock
# What only tests, compilers and debuggers want is not shipped. What our programs import is compiled
# ahead, because nothing may be written in a running container.
COPY images/operator/precompile /build/
RUN site=$(echo /opt/shieldx/lib/python3.*/site-packages) \
 && find "$site" -depth -type d \( -name tests -o -name test -o -name __pycache__ \) -exec rm -rf {} + \
 && find "$site" -type f \( -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ach]' \) -delete \
 && find "$site" -type f -name '*.so*' -exec strip --strip-unneeded {} + \
 && rm -rf "$site"/pip "$site"/pip-* /opt/shieldx/bin/pip* /opt/shieldx/bin/[aA]ctivate* \
 && echo /opt/shieldx/source > "$site"/shieldx.pth \
 && printf '#!/opt/shieldx/bin/python3\nfrom shieldx.__main__ import main\n\nif __name__ == "__main__":\n    main()\n' > /opt/shieldx/bin/shieldx \
 && chmod 755 /opt/shieldx/bin/shieldx \
 && /opt/shieldx/bin/python3 /build/precompile

FROM debian:trixie-slim AS operator
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /usr/share/doc /usr/share/man /usr/share/locale \
 && groupadd --gid 10001 shieldx \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent shieldx
COPY --from=dependencies /opt/shieldx /opt/shieldx
COPY operator/shieldx /opt/shieldx/source/shieldx
COPY controllers /opt/shieldx/source/controllers
# Where the link in shieldx/ leads.
COPY crds /opt/shieldx/crds
RUN /opt/shieldx/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/shieldx/source \
 && /opt/shieldx/bin/python3 -c "import shieldx.stats, shieldx.cli.simulate"
ENV PATH=/opt/shieldx/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["shieldx"]
CMD ["--help"]

FROM debian:trixie-slim AS postgres
# The just-in-time compiler (LLVM, 150 MB) pays for long analytical queries; a ledger has none.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
 && sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
 && apt-get install --yes --no-install-recommends postgresql-17 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /usr/share/doc /usr/share/man /usr/share/locale /usr/share/i18n \
      /usr/lib/*/libLLVM* /usr/lib/*/libz3.* /usr/lib/llvm* \
      /usr/lib/postgresql/17/lib/bitcode /usr/lib/postgresql/17/lib/llvmjit* \
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
