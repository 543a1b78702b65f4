# samdeploy on a CPU: export, verify, predict, annotate.
#   docker build -t samdeploy .
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/data" -v samdeploy:/cache samdeploy \
#       predict model=sam_tiny.pt source=picture.png
FROM python:3.12-slim

# As in the Makefile, but built without CUDA.
ARG TORCH=torch==2.13.0

COPY . /source
RUN pip install --no-cache-dir "$TORCH" --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir -c /source/constraints.txt '/source[export,openvino]' \
    && rm -r /source

# Downloaded checkpoints, also of users that have no home here.
RUN mkdir -m 1777 /cache
ENV SAMDEPLOY_CACHE=/cache

WORKDIR /data
ENTRYPOINT ["samdeploy"]
