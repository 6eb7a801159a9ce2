"""LoRA adapters for tests, written as PEFT writes them."""
import json
import pathlib
import random
import struct

RANK = 4


def write_adapter(directory: pathlib.Path, seed: int) -> pathlib.Path:
    """A random adapter of the demo model, as PEFT writes one: attention and FFN of every layer."""
    drawn = random.Random(seed)
    shapes = {"self_attn.q_proj": (256, 256), "self_attn.v_proj": (128, 256), "self_attn.o_proj": (256, 256), "mlp.gate_proj": (512, 256), "mlp.down_proj": (256, 512)}
    header, data = {}, bytearray()
    for layer in range(4):
        for projection, (out, into) in shapes.items():
            for letter, rows, cols in (("A", RANK, into), ("B", out, RANK)):
                values = [drawn.gauss(0, 0.08) for _ in range(rows * cols)]
                begin = len(data)
                data += struct.pack(f"<{len(values)}f", *values)
                name = f"base_model.model.model.layers.{layer}.{projection}.lora_{letter}.weight"
                header[name] = {"dtype": "F32", "shape": [rows, cols], "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    directory.mkdir()
    (directory / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (directory / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"]}))
    return directory
