"""Causes in containers: the GPUs that are handed into them, their images, and the registries of images."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_TOOLKIT = "Install and set up the NVIDIA Container Toolkit (nvidia-ctk runtime configure), then restart Docker."

CONTAINERS: tuple[Failure, ...] = (
    # --- GPUs in containers
    start_failure(
        r"could not select device driver .{0,40}gpu|unknown or invalid runtime name: nvidia",
        "no_gpu",
        "Docker cannot hand GPUs into the container",
        _TOOLKIT,
    ),
    start_failure(
        r"nvidia-container-cli: requirement error: unsatisfied condition: ([^,:\\]{1,60})",
        "driver_too_old",
        "the NVIDIA driver of this machine is older than the image needs ({1})",
        "Upgrade the driver of the host, or name an image for an older CUDA: docker.image in the recipe.",
    ),
    start_failure(
        r"nvidia-container-cli: .{0,80}(?:libnvidia-ml\.so|driver not loaded|driver rpc error|nvml error)",
        "no_gpu",
        "the NVIDIA driver of this machine is not installed, or not loaded",
        "Install it on the host (not in the image), reboot, and see that nvidia-smi works there.",
    ),
    start_failure(
        r"nvidia-container-cli: device error: ([^:]{1,80}): unknown device",
        "too_few_gpus",
        "a GPU was asked for that is not there: {1}",
        "Correct gpus in the recipe: nvidia-smi -L lists what there is.",
    ),
    start_failure(
        r"nvidia-container-cli: (.{1,200})",
        "no_gpu",
        "GPUs cannot be handed into the container: {1}",
        f"{_TOOLKIT} See that nvidia-smi works on the host.",
    ),
    start_failure(
        r"unresolvable CDI devices? (\S{1,200})",
        "no_gpu",
        "the GPUs are not described to the container engine (CDI): there is no {1}",
        "Write the description: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml (NVIDIA Container Toolkit); "
        "again after each upgrade of the driver.",
    ),
    # --- images and files
    start_failure(
        r"Cannot connect to the Docker daemon|permission denied while trying to connect to the [Dd]ocker"
        r"|docker: command not found",
        "docker",
        "Docker does not answer this user",
        "Start it (systemctl start docker), or put this user into the group docker.",
    ),
    start_failure(
        r"(?:failed to register layer|/var/lib/(?:docker|containerd|containers)/).{0,400}no space left",
        "disk_full",
        "the disk that holds the images of containers is full",
        "Free space (docker system df, docker system prune), or move Docker's data-root to a larger disk.",
    ),
    start_failure(
        r"no matching manifest for (\S{1,60})",
        "docker_image",
        "the image was not made for this kind of machine ({1})",
        "Name an image for it in docker.image of the recipe.",
    ),
    start_failure(
        r"pull access denied for (\S+?),?|manifest for (\S+) not found",
        "docker_image",
        "there is no image {1}{2} here, and it could not be fetched",
        "Correct docker.image in the recipe, or fetch it: docker pull.",
    ),
    start_failure(
        r"short-name \"([^\" ]{1,200})\" did not resolve|short-name resolution enforced",
        "docker_image",
        "Podman does not know which registry the image {1} is from",
        "Write its whole name in docker.image: docker.io/..., ghcr.io/..., or localhost/... for one built here.",
    ),
    start_failure(
        r"insufficient UIDs or GIDs available in user namespace",
        "container_users",
        "Podman without root has too few user ids for the files of the image",
        "Give this user a range of them (sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME; "
        "/etc/subuid shows those of others), then podman system migrate.",
    ),
    start_failure(
        r"statfs (\S{1,300}): no such file|bind source path does not exist: (\S{1,300})",
        "file_missing",
        "there is no {1}{2} to show to the container",
        "Correct model_path, or docker.volumes in the recipe.",
    ),
    start_failure(
        r"The container name \"?/?([^\" ]{1,120})\"? is already in use",
        "docker_name",
        "there is a container of the name {1} already",
        "Remove it (docker rm -f {1}) if it is not needed, or take the name out of docker in the recipe.",
    ),
    start_failure(
        r"pull rate limit|toomanyrequests: ",
        "registry_busy",
        "the registry of images allows no more pulls for now",
        "Wait some hours, or sign in (docker login): who is known may pull more.",
        restart=True,
    ),
    start_failure(
        r"(?:Get|Head) \"https?://([^/\"]{1,120})[^\"]{0,300}\": "
        r"(?:net/http|dial tcp|read tcp|context|EOF|proxyconnect)",
        "offline",
        "the registry of images cannot be reached: {1}",
        "Give this machine a network (a proxy: HTTPS_PROXY for the Docker daemon), or load the image: docker load.",
        restart=True,
        fixes=("online",),
    ),
)
