"""Which container a process is in, and what it is called, where that may be read."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_studio_tui.kit.containers import Container, container_in
from vllm_studio_tui.probes.containers import ContainerNames, names_of_docker, names_of_node, names_of_podman

ID = "3f2a" * 16
OTHER = "9c" * 32
POD = "1b2c3d4e-1111-2222-3333-444455556666"


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", Container("docker", ID)),
        (f"12:devices:/docker/{ID}\n11:memory:/docker/{ID}\n", Container("docker", ID)),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container\n",
         Container("podman", ID)),
        (f"0::/machine.slice/libpod-conmon-{ID}.scope\n", None),
        (f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice/"
         f"cri-containerd-{ID}.scope\n", Container("kubernetes", ID, POD)),
        (f"5:cpu:/kubepods/besteffort/pod{POD}/{ID}\n", Container("kubernetes", ID, POD)),
        (f"0::/docker/{OTHER}/kubelet/kubepods/pod{POD}/{ID}\n", Container("kubernetes", ID, POD)),
        (f"0::/system.slice/crio-{ID}.scope\n", Container("cri-o", ID)),
        ("0::/lxc.payload.web-1/system.slice/nginx.service\n", Container("lxc", "web-1")),
        ("4:memory:/lxc/web/init.scope\n", Container("lxc", "web")),
        ("0::/lxc.monitor.web-1\n", None),
        ("0::/machine.slice/machine-my\\x2dbox.scope/payload\n", Container("nspawn", "my-box")),
        ("0::/machine.slice/machine-qemu\\x2d1\\x2dvm.scope\n", None),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/\n", None),
        ("", None),
        (f"0::/system.slice/docker-{ID}a.scope\n", None),
    ],
)  # fmt: skip
def test_control_groups_tell_the_container(groups: str, found: Container | None) -> None:
    assert container_in(groups) == found


@settings(max_examples=30)
@given(st.text(max_size=200))
def test_any_text_is_read_without_harm(text: str) -> None:
    container_in(text)
    container_in(f"0::/docker/{text}/{ID}")


def test_podman_and_a_node_of_kubernetes_have_names_in_files(tmp_path: Path) -> None:
    podman = tmp_path / "containers.json"
    podman.write_text(json.dumps([{"id": ID, "names": ["web"]}, {"id": OTHER}, 3, {"names": []}]))
    assert names_of_podman((tmp_path / "none", podman)) == {ID: "web"}
    podman.write_text("{broken")
    assert names_of_podman((podman,)) == {}
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / f"llm-0_prod_vllm-{ID}.log").touch()
    (logs / "strange.log").touch()
    assert names_of_node(logs) == {ID: "prod/llm-0"}
    assert names_of_node(tmp_path / "none") == {}


def serve(path: Path, answers: list[bytes]) -> threading.Thread:
    """Answer so many connections on a socket, as Docker would."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def work() -> None:
        with listener:
            for answer in answers:
                peer, _ = listener.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(answer)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_docker_is_asked_once_for_the_names_of_all(tmp_path: Path) -> None:
    listed = json.dumps([{"Id": ID, "Names": ["/web", "/db/web"]}, {"Id": OTHER, "Names": []}]).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(listed)
    where = tmp_path / "docker.sock"
    thread = serve(where, [head + listed, head + listed])
    names = ContainerNames(where, (), tmp_path)
    assert names.name(Container("docker", ID)) == "web"
    assert names.name(Container("docker", ID)) == "web"
    assert names.name(Container("docker", OTHER)) == OTHER[:12]
    assert names.name(Container("docker", OTHER)) == OTHER[:12], "what has no name is not asked for at every look"
    thread.join(5)
    assert not thread.is_alive()
    assert names.name(Container("lxc", "web-1")) == "web-1"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 no\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[["])
def test_a_docker_that_fails_costs_a_name_and_no_more(tmp_path: Path, answer: bytes) -> None:
    serve(tmp_path / "docker.sock", [answer])
    assert names_of_docker(tmp_path / "docker.sock") == {}
    assert names_of_docker(tmp_path / "none.sock") == {}
