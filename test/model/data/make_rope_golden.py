#!/usr/bin/env python3
"""Writes rope_golden.json beside itself: rope tables as Hugging Face transformers computes them.

Development only; needs torch and transformers (written with transformers 5.23).
"""
import json
import pathlib

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
cases = [
 ("default", 16, 2048, 10000.0, None),
 ("default theta 5e5", 64, 8192, 500000.0, None),
 ("default odd width", 20, 2048, 10000.0, None),
 ("linear", 16, 2048, 10000.0, {"rope_type":"linear","factor":4.0}),
 ("linear 2.5", 16, 2048, 10000.0, {"type":"linear","factor":2.5}),
 ("dynamic", 16, 2048, 10000.0, {"rope_type":"dynamic","factor":2.0}),
 ("llama3", 64, 131072, 500000.0, {"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}),
 ("llama3.2", 64, 131072, 500000.0, {"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192}),
 ("yarn", 64, 32768, 1000000.0, {"type":"yarn","factor":4.0,"original_max_position_embeddings":32768}),
 ("yarn post length", 32, 16384, 10000.0, {"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":4096,"beta_fast":16,"beta_slow":2}),
 ("yarn attention_factor", 16, 2048, 10000.0, {"rope_type":"yarn","factor":8.0,"attention_factor":0.75}),
 ("yarn mscale", 64, 163840, 10000.0, {"rope_type":"yarn","factor":40,"original_max_position_embeddings":4096,"mscale":0.707,"mscale_all_dim":1.3,"beta_fast":32,"beta_slow":1}),
 ("yarn untruncated", 64, 131072, 150000.0, {"rope_type":"yarn","factor":32.0,"original_max_position_embeddings":4096,"truncate":False}),
]

out = []
for name, dim, positions, theta, scaling in cases:
    parameters = dict(scaling or {"rope_type": "default"})
    parameters["rope_theta"] = theta
    config = LlamaConfig(hidden_size=dim * 4, num_attention_heads=4, head_dim=dim,
                         max_position_embeddings=positions, rope_parameters=parameters)
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        frequencies, scale = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    elif kind == "dynamic":  # docs/decisions/0002-dynamic-ntk.md: always the longest sequence
        frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config, seq_len=int(positions * scaling["factor"]))
    else:
        frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config)
    out.append({"name": name, "head_dim": dim, "max_position_embeddings": positions, "rope_theta": theta,
                "rope_scaling": scaling, "attention_factor": float(torch.tensor(scale, dtype=torch.float32)),
                "inv_freq": [float(x) for x in frequencies.to(torch.float32)]})
text = "[\n" + ",\n".join(json.dumps(case) for case in out) + "\n]\n"
(pathlib.Path(__file__).parent / "rope_golden.json").write_text(text)
