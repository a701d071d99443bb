"""Images without a registry: built by Docker where a daemon answers, else by buildah.

Layers are cached by the builder. An image is exported once, keyed by its id, so that loading an
unchanged one costs nothing.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.cluster.errors import ClusterError
from tests.support.cluster.layout import CHECKOUT, cache_folder
from tests.support.cluster.progress import step

BASE: Final = "docker.io/library/debian:trixie-slim"
BASE_LABEL: Final = "io.shieldx.base"
BASE_VERSION: Final = "2"
_NOT_IN_SLIM: Final = ("man", "doc", "locale", "info", "groff", "lintian", "linda")
_CERTIFICATES: Final = "/run/ca.crt"


@dataclass(frozen=True, slots=True)
class Image:
    """What is built, from which stage of which Dockerfile."""

    tag: str
    target: str
    dockerfile: Path
    context: Path


PRODUCT: Final = tuple(
    Image(tag, target, CHECKOUT / "Dockerfile", CHECKOUT)
    for tag, target in (
        ("localhost/shieldx:dev", "operator"),
        ("localhost/shieldx-postgres:dev", "postgres"),
    )
)


def cluster_images(programs: Path) -> tuple[Image, ...]:
    """Return the images that the cluster itself needs."""
    dockerfile = Path(__file__).parent / "Dockerfile"
    return tuple(
        Image(f"localhost/{name}:1", name, dockerfile, programs)
        for name in ("pause", "coredns", "local-path")
    )


def docker_answers() -> bool:
    """Whether there is a Docker daemon; a client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    version = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(version, capture_output=True, check=False, timeout=20).returncode == 0


def build(image: Image) -> str:
    """Build an image and return its id."""
    with step(f"build image {image.tag}"), tempfile.TemporaryDirectory() as folder:
        # The builder's own word, not the tag's: another checkout may build the same tag meanwhile.
        word = Path(folder) / "id"
        if docker_answers():
            _run("docker", "build", f"--iidfile={word}", *_common(image))
        else:
            if image.target not in {"pause", "coredns", "local-path"}:
                ensure_base()
            _run(
                *("buildah", "build", "--layers", "--network=host", f"--iidfile={word}"),
                *_certificates(),
                *_common(image),
            )
        return word.read_text().strip().removeprefix("sha256:")


def export(image: Image, identity: str) -> Path:
    """Return an archive of the image that `ctr images import` reads."""
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    name = image.tag.replace("/", "_").replace(":", "_")
    archive = folder / f"{name}-{identity[:16]}.tar"
    if archive.exists():
        return archive
    with step(f"export image {image.tag}"), tempfile.TemporaryDirectory(dir=folder) as making:
        file = Path(making) / "image.tar"
        if docker_answers():
            _run("docker", "save", "--output", str(file), image.tag)
        else:
            _run("buildah", "push", "--quiet", identity, f"docker-archive:{file}:{image.tag}")
        for older in folder.glob(f"{name}-*.tar"):
            older.unlink(missing_ok=True)
        file.rename(archive)
    return archive


def ensure_base() -> None:
    """Make the Debian that the Dockerfile starts from, out of Debian's own packages."""
    label = subprocess.run(
        [
            "buildah",
            "inspect",
            "--type=image",
            f'--format={{{{index .OCIv1.Config.Labels "{BASE_LABEL}"}}}}',
            BASE,
        ],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    if label.returncode == 0 and label.stdout.strip() == BASE_VERSION:
        return
    with step("make the Debian base image"), tempfile.TemporaryDirectory() as folder:
        root = f"{folder}/root.tar"
        excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _NOT_IN_SLIM]
        _run(
            "mmdebstrap",
            "--variant=minbase",
            "--include=ca-certificates",
            *excluded,
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            "--quiet",
            "trixie",
            root,
        )
        container = _run("buildah", "from", "scratch")
        try:
            _run("buildah", "add", "--quiet", container, root, "/")
            path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            _run(
                *("buildah", "config", "--cmd=/bin/bash", f"--env=PATH={path}"),
                *(f"--label={BASE_LABEL}={BASE_VERSION}", container),
            )
            _run("buildah", "commit", "--quiet", container, BASE)
        finally:
            _run("buildah", "rm", container)


def _common(image: Image) -> list[str]:
    return [
        *("--target", image.target, "--tag", image.tag),
        *("--file", str(image.dockerfile), str(image.context)),
    ]


def _certificates() -> list[str]:
    """Let builds trust what this machine trusts, where it says so."""
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if (bundle := os.environ.get(name)) and Path(bundle).is_file():
            return [
                f"--volume={bundle}:{_CERTIFICATES}:ro",
                f"--build-arg=PIP_CERT={_CERTIFICATES}",
            ]
    return []


def _environment() -> dict[str, str]:
    return {**os.environ, "STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        words = (done.stdout + done.stderr)[-3000:]
        raise ClusterError(f"{' '.join(command[:3])} failed:\n{words}")
    return done.stdout.strip()
