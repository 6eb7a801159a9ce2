"""The demo model as if two of its four layers attended through a sliding window: other answers, of the same weights."""
import json
import pathlib
import shutil

from daemons import SOURCE

WINDOW = 24  # tokens, fewer than any of the demo's prompts has


def windowed_demo(folder: pathlib.Path) -> pathlib.Path:
    model = shutil.copytree(SOURCE / "models/demo", folder / "windowed")
    config = json.loads((model / "config.json").read_text())
    config.update(architectures=["MistralForCausalLM"], sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"] * 2)
    (model / "config.json").write_text(json.dumps(config))
    return model
