# syntax=docker/dockerfile:1
# docker build --target cpu .    or    docker build --target cuda .    docs/deploy.md shows how to run them.
#
# Both targets stand on the slim Python image: torch's packages bring the CUDA libraries with them, and the NVIDIA
# container toolkit adds the driver, so a CUDA base image would only hold everything twice.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
# User 1000 owns the volume and a home, nothing else. ~/models is the volume: the app looks there first, and falls back
# to the starter models of the image while the volume is empty.
RUN useradd --create-home --uid 1000 studio \
    && mkdir /models \
    && ln -s /models /home/studio/models \
    && chown -h studio:studio /models /home/studio/models
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
RUN pip install -r requirements.txt \
    && python scripts/settle_packages.py --cuda \
    && python scripts/settle_packages.py --check

FROM cpu-packages AS cpu
COPY . .
RUN pip install --no-deps --editable .
USER 1000
WORKDIR /home/studio
ENV ARC2FACE_HOST=0.0.0.0 ARC2FACE_CACHE=/models/.cache EMOCA_CACHE=/models/.cache/emoca
VOLUME /models
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/', timeout=4)"]
CMD ["arc2face", "app"]

FROM cuda-packages AS cuda
COPY . .
RUN pip install --no-deps --editable .
USER 1000
WORKDIR /home/studio
ENV ARC2FACE_HOST=0.0.0.0 ARC2FACE_CACHE=/models/.cache EMOCA_CACHE=/models/.cache/emoca
VOLUME /models
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/', timeout=4)"]
CMD ["arc2face", "app"]
