"""The web app: `python -m cifar_lit.app [BUNDLE_OR_RUN ...]` serves the page, `--export space/` writes it as a Space."""

import os

# Read when gradio and huggingface_hub are imported, which is later: nothing is sent anywhere, and nothing is asked for news.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
