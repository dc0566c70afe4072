# docker build -t shoal .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/work shoal train task=parabola
FROM python:3.12-slim
# The compiler is for the pointwise operations of long sweeps; git for the commit that each run records.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends git g++ && rm -rf /var/lib/apt/lists/*
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /src
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c /src/requirements.lock "/src[export,optuna]" \
  && rm -rf /src
ENV HOME=/tmp OMP_NUM_THREADS=1
WORKDIR /work
ENTRYPOINT ["shoal"]
CMD ["--help"]
