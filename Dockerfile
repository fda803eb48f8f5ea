# The bridge in a container, built from the checkout: docs/how-to/run-in-containers.md
FROM python:3.12-slim
COPY pyproject.toml README.md LICENSE /src/
COPY claude_bridge /src/claude_bridge
RUN pip install --no-cache-dir '/src[metrics,pdf,speed,web]' && rm -r /src && useradd --create-home bridge
USER bridge
ENV BRIDGE_HOST=0.0.0.0
EXPOSE 8765
HEALTHCHECK --interval=10s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8765/healthz')"]
ENTRYPOINT ["bridge", "serve"]
