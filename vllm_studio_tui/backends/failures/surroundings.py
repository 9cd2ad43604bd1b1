"""Causes of failure in what stands around an engine: containers, conda, systemd and Slurm."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.models import Row

_TOOLKIT = "Install and set up the NVIDIA Container Toolkit (nvidia-ctk runtime configure), then restart Docker."

#: What keeps an engine from being launched at all.
LAUNCH: tuple[Row, ...] = (
    # --- GPUs in containers
    (
        r"could not select device driver .{0,40}gpu|unknown or invalid runtime name: nvidia",
        "no_gpu",
        "Docker cannot hand GPUs into the container",
        _TOOLKIT,
    ),
    (
        r"nvidia-container-cli: requirement error: unsatisfied condition: ([^,:\\]{1,60})",
        "driver_too_old",
        "the NVIDIA driver of this machine is older than the image needs ({1})",
        "Upgrade the driver of the host, or name an image for an older CUDA: docker.image in the recipe.",
    ),
    (
        r"nvidia-container-cli: .{0,80}(?:libnvidia-ml\.so|driver not loaded|driver rpc error|nvml error)",
        "no_gpu",
        "the NVIDIA driver of this machine is not installed, or not loaded",
        "Install it on the host (not in the image), reboot, and see that nvidia-smi works there.",
    ),
    (
        r"nvidia-container-cli: device error: ([^:]{1,80}): unknown device",
        "too_few_gpus",
        "a GPU was asked for that is not there: {1}",
        "Correct gpus in the recipe: nvidia-smi -L lists what there is.",
    ),
    (
        r"nvidia-container-cli: (.{1,200})",
        "no_gpu",
        "GPUs cannot be handed into the container: {1}",
        f"{_TOOLKIT} See that nvidia-smi works on the host.",
    ),
    (
        r"unresolvable CDI devices? (\S{1,200})",
        "no_gpu",
        "the GPUs are not described to the container engine (CDI): there is no {1}",
        "Write the description: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml (NVIDIA Container Toolkit); "
        "again after each upgrade of the driver.",
    ),
    # --- images and files
    (
        r"Cannot connect to the Docker daemon|permission denied while trying to connect to the [Dd]ocker"
        r"|docker: command not found",
        "docker",
        "Docker does not answer this user",
        "Start it (systemctl start docker), or put this user into the group docker.",
    ),
    (
        r"(?:failed to register layer|/var/lib/(?:docker|containerd|containers)/).{0,400}no space left",
        "disk_full",
        "the disk that holds the images of containers is full",
        "Free space (docker system df, docker system prune), or move Docker's data-root to a larger disk.",
    ),
    (
        r"no matching manifest for (\S{1,60})",
        "docker_image",
        "the image was not made for this kind of machine ({1})",
        "Name an image for it in docker.image of the recipe.",
    ),
    (
        r"pull access denied for (\S+?),?|manifest for (\S+) not found",
        "docker_image",
        "there is no image {1}{2} here, and it could not be fetched",
        "Correct docker.image in the recipe, or fetch it: docker pull.",
    ),
    (
        r"short-name \"([^\" ]{1,200})\" did not resolve|short-name resolution enforced",
        "docker_image",
        "Podman does not know which registry the image {1} is from",
        "Write its whole name in docker.image: docker.io/..., ghcr.io/..., or localhost/... for one built here.",
    ),
    (
        r"insufficient UIDs or GIDs available in user namespace",
        "container_users",
        "Podman without root has too few user ids for the files of the image",
        "Give this user a range of them (sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME; "
        "/etc/subuid shows those of others), then podman system migrate.",
    ),
    (
        r"statfs (\S{1,300}): no such file|bind source path does not exist: (\S{1,300})",
        "file_missing",
        "there is no {1}{2} to show to the container",
        "Correct model_path, or docker.volumes in the recipe.",
    ),
    (
        r"The container name \"?/?([^\" ]{1,120})\"? is already in use",
        "docker_name",
        "there is a container of the name {1} already",
        "Remove it (docker rm -f {1}) if it is not needed, or take the name out of docker in the recipe.",
    ),
    # --- environments and services
    (
        r"No solution found when resolving",
        "no_solution",
        "uv finds no versions of the packages that fit together",
        "As a rule another Python is needed (uv venv --python 3.12), or another version of what the line names.",
    ),
    (
        r"Cannot install (.{1,200}) because these package versions have conflicting|ResolutionImpossible",
        "no_solution",
        "pip finds no versions of the packages that fit together: {1}",
        "The lines below say which ask for what: leave out or change the version of one of them.",
    ),
    (
        r"externally-managed-environment",
        "no_python",
        "pip may not install into the system's own Python",
        "Make an environment (python3 -m venv ~/engine; ~/engine/bin/pip install ...) and name its bin/python in "
        "python_path.",
    ),
    (
        r"No matching distribution found for ([^\s'\"]{1,120})",
        "no_solution",
        "pip finds no version of {1} for this Python and this machine",
        "Use a Python that it supports (its page on PyPI lists them), another version, or the index that holds it "
        "(--extra-index-url).",
    ),
    (
        r"Not a conda environment: (\S{1,300})|Could not find conda environment: (\S{1,300})",
        "no_python",
        "there is no conda environment {1}{2}",
        "Correct python_path or command in the recipe: `conda env list` shows the environments.",
    ),
    (
        r"Run 'conda init' before 'conda activate'",
        "no_python",
        "the conda environment was not activated: conda is not set up in the shell that starts the engine",
        "Name python_path (the environment's bin/python) in the recipe; in a script run "
        '`source "$(conda info --base)/etc/profile.d/conda.sh"` first.',
    ),
    (
        r"Failed to spawn: [`']([^`']{1,200})",
        "program_missing",
        "the environment that uv runs has no program {1}",
        "Install it there (uv pip install), or name executable or python_path in the recipe.",
    ),
    (
        r"Failed to locate executable (\S{1,300}):|Failed at step EXEC spawning (\S{1,300}):",
        "program_missing",
        "there is no program {1}{2}, which the systemd unit is to start",
        "Correct ExecStart in the unit (systemctl cat NAME shows it; then systemctl daemon-reload), or put the program "
        "there.",
    ),
    (
        r"Failed at step (\w{1,40}) spawning (\S{1,300}): (.{1,120})",
        "service",
        "systemd could not start {2} ({1}): {3}",
        "Correct the unit (systemctl cat NAME): User for USER, WorkingDirectory for CHDIR, EnvironmentFile, limits.",
    ),
)

#: Launchers that end engines, also engines that serve.
ENDED: tuple[Row, ...] = (
    (
        r"Detected \d{1,6} oom[_-]kill|srun: error: [^:]{1,200}: tasks? [^:]{1,80}: Out Of Memory",
        "killed",
        "Slurm ended it: it took more of the machine's memory than the job had asked for",
        "Ask for more (--mem), or use less: a smaller model or cache, fewer workers.",
    ),
    (
        r"CANCELLED AT \S{1,40} DUE TO (\w[\w ]{1,40})",
        "terminated",
        "Slurm ended it: {1}",
        "Ask for more time (--time) or another partition; `sacct -j JOB` shows what happened.",
    ),
    (
        r"(systemd-oomd) killed|(earlyoom).{0,20}sending SIG",
        "killed",
        "{1}{2} ended it: the machine's memory was short",
        "Use a smaller model or cache, more layers on the GPU, or add memory or swap. In the unit "
        "ManagedOOMPreference=omit takes it out of systemd-oomd's choice.",
    ),
    (
        r"unit has been killed by the OOM killer|Failed with result 'oom-kill'",
        "killed",
        "the kernel killed it for lack of memory",
        "Use a smaller model or cache, add memory or swap, or raise MemoryMax of the systemd unit.",
    ),
)

#: Registries of images, which may answer at the next try.
REGISTRY: tuple[Row, ...] = (
    (
        r"pull rate limit|toomanyrequests: ",
        "registry_busy",
        "the registry of images allows no more pulls for now",
        "Wait some hours, or sign in (docker login): who is known may pull more.",
    ),
    (
        r"(?:Get|Head) \"https?://([^/\"]{1,120})[^\"]{0,300}\": "
        r"(?:net/http|dial tcp|read tcp|context|EOF|proxyconnect)",
        "offline",
        "the registry of images cannot be reached: {1}",
        "Give this machine a network (a proxy: HTTPS_PROXY for the Docker daemon), or load the image: docker load.",
    ),
)
