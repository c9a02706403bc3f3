# A server for one model, on CPUs. Build the wheel first: python -m build --wheel
# docker run --read-only --tmpfs /tmp -e DOCCLF_SERVE_TOKEN -p 8000:8000 -v $PWD/runs/mine:/model:ro docclf
FROM python:3.11-slim

COPY dist/docclf-*-py3-none-any.whl /wheels/
# pip takes a torch for GPUs by default, which is several GB larger. The page of PyTorch's installation names the index of
# its CPU builds: docker build --build-arg TORCH_OPTIONS="--index-url …"
ARG TORCH_OPTIONS=
RUN pip install --no-cache-dir torch torchvision $TORCH_OPTIONS \
    && pip install --no-cache-dir "$(ls /wheels/*.whl)[web,pdf,onnx]" \
    && rm -r /wheels

RUN useradd --create-home --uid 10001 docclf
USER docclf
ENV HOME=/tmp XDG_CACHE_HOME=/tmp/cache PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["docclf", "serve"]
CMD ["/model", "--host", "0.0.0.0"]
