"""A random LoRA adapter of a Llama-type model, written as PEFT writes one: `lora.py MODEL DIRECTORY [RANK]`."""
import array
import json
import pathlib
import random
import struct
import sys


def shapes_of(model: pathlib.Path) -> dict[str, tuple[int, int]]:
    """[out, in] of what the adapter changes in every layer."""
    config = json.loads((model / "config.json").read_text())
    hidden, ffn, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    return {"self_attn.q_proj": (heads * head, hidden), "self_attn.v_proj": (config["num_key_value_heads"] * head, hidden), "self_attn.o_proj": (hidden, heads * head),
            "mlp.gate_proj": (ffn, hidden), "mlp.down_proj": (hidden, ffn)}


def write_adapter(model: pathlib.Path, directory: pathlib.Path, seed: int, rank: int = 4) -> pathlib.Path:
    drawn = random.Random(seed)
    header, data = {}, array.array("f")
    for layer in range(json.loads((model / "config.json").read_text())["num_hidden_layers"]):
        for projection, (out, into) in shapes_of(model).items():
            for letter, rows, cols in (("A", rank, into), ("B", out, rank)):
                begin = 4 * len(data)
                data.extend(drawn.gauss(0, 0.08) for _ in range(rows * cols))
                name = f"base_model.model.model.layers.{layer}.{projection}.lora_{letter}.weight"
                header[name] = {"dtype": "F32", "shape": [rows, cols], "data_offsets": [begin, 4 * len(data)]}
    text = json.dumps(header).encode()
    directory.mkdir()
    (directory / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data.tobytes())
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"]}))
    return directory


if __name__ == "__main__":
    write_adapter(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 1, int(sys.argv[3]) if len(sys.argv) > 3 else 16)
