# samdeploy on a CPU: export, verify, predict, annotate.
#   docker build -t samdeploy .
#   docker run --rm -v "$PWD:/data" samdeploy predict model=sam_tiny.pt source=picture.png
FROM python:3.12-slim

COPY . /source
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir -c /source/constraints.txt '/source[export,openvino]' \
    && rm -r /source

WORKDIR /data
ENTRYPOINT ["samdeploy"]
