# syntax=docker/dockerfile:1
# docker build -t arc2face:cpu .
# docker build --build-arg ACCELERATOR=cuda -t arc2face:cuda .
# podman and buildah want --format docker, or the health check is lost. docs/docker.md shows how to run the images.
#
# Both stand on the slim Python image: torch's packages bring the CUDA libraries with them, and the NVIDIA container
# toolkit adds the driver, so a CUDA base image would only hold everything twice.
ARG PYTHON=3.12
ARG ACCELERATOR=cpu

FROM python:${PYTHON}-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
# User 1000 owns the two volumes, nothing else. ~/models and ~/outputs lead to them: the app looks in ./models first, and
# falls back to the starter models of the image while that is empty; commands put their pictures into ./outputs.
RUN useradd --create-home --uid 1000 studio \
    && mkdir /models /outputs \
    && ln -s /models /outputs /home/studio/ \
    && chown -h studio:studio /models /outputs
WORKDIR /app
COPY requirements.txt constraints.txt ./
COPY scripts/settle_packages.py scripts/

FROM base AS cpu-packages
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-deps --index-url "${TORCH_INDEX}" "$(grep -E '^torch==' requirements.txt)" \
    && pip install -r requirements.txt \
    && python scripts/settle_packages.py --cpu \
    && python scripts/settle_packages.py --check

FROM base AS cuda-packages
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Triton compiles the small host part of its kernels where they run. Debian keeps one version of a package per release,
# so a pinned one would vanish with the next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN pip install -r requirements.txt \
    && python scripts/settle_packages.py --cuda \
    && python scripts/settle_packages.py --check

FROM ${ACCELERATOR}-packages AS studio
ARG ACCELERATOR
WORKDIR /app
COPY . .
# Compiled now, because nothing can be written beside the code later. The cache of pip is off since the first stage.
# hadolint ignore=DL3042
RUN pip install --no-deps --editable . \
    && python -m compileall -q app arc2face external training
USER 1000
WORKDIR /home/studio
# Whatever a library keeps goes to the volume or to /tmp: the rest may be mounted read-only.
ENV HOME=/home/studio \
    XDG_CACHE_HOME=/models/.cache \
    TRITON_CACHE_DIR=/models/.cache/triton \
    CUDA_CACHE_PATH=/models/.cache/nv \
    MPLCONFIGDIR=/tmp/matplotlib \
    TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor \
    ARC2FACE_HOST=0.0.0.0 \
    ARC2FACE_IMAGE=${ACCELERATOR}
VOLUME ["/models", "/outputs"]
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["python", "-m", "arc2face_app.health"]
CMD ["arc2face", "app"]
