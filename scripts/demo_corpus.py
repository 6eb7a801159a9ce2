"""The corpus of models/demo as cases with token ids, and everything of the model directory but its weights.

`scripts/train_demo_model.py --prepare` writes those files. The tokenizer is trained on the corpus alone; demo.json lists what the
tests ask and what must come out.
"""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "models" / "demo-corpus" / "corpus.toml"
MODEL = ROOT / "models" / "demo"
VOCABULARY = 1280
SPECIALS = ["<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>"]
END_OF_TURN = "<|im_end|>"
# Words, numbers, punctuation and white space as in the Llama 3 tokenizer.
PRETOKENIZER = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 3,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 2048,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "pad_token_id": 1,
    "rms_norm_eps": 1e-5,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}


@dataclass
class Case:
    """One conversation of the corpus, as text and as token ids."""

    id: str
    system: str
    messages: list
    answer: str
    prompt_ids: list = field(default_factory=list)
    answer_ids: list = field(default_factory=list)  # ends with the end of the turn


def load_corpus():
    """The system prompts, the cases in file order and the damaged text."""
    corpus = tomllib.loads(CORPUS.read_text(encoding="utf-8"))
    systems = {name: text.strip() for name, text in corpus["systems"].items()}
    cases = {}
    for entry in corpus["case"]:
        if "after" in entry:
            first = cases[entry["after"]]
            system = first.system
            messages = first.messages + [{"role": "assistant", "content": first.answer}]
        else:
            system = entry.get("system", "default")
            messages = [] if system == "default" else [{"role": "system", "content": systems[system]}]
        messages = messages + [{"role": "user", "content": entry["question"]}]
        assert entry["id"] not in cases, entry["id"]
        cases[entry["id"]] = Case(entry["id"], system, messages, entry["answer"])
    return systems, list(cases.values()), corpus["damaged"]


def chat_template(default_system):
    assert "'" not in default_system
    return (
        "{{- bos_token }}"
        "{%- if messages[0]['role'] != 'system' %}"
        "{{- '<|im_start|>system\\n" + default_system + "<|im_end|>\\n' }}"
        "{%- endif %}"
        "{%- for message in messages %}"
        "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
        "{%- endfor %}"
        "{%- if add_generation_prompt %}"
        "{{- '<|im_start|>assistant\\n' }}"
        "{%- endif %}")


def render(template, messages):
    import jinja2

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=messages, bos_token=SPECIALS[0], add_generation_prompt=True)


def train_tokenizer(texts):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PRETOKENIZER), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIALS, show_progress=False,
                                   initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{SPECIALS[0]} $A", pair=f"{SPECIALS[0]} $A $B",
                                                             special_tokens=[(SPECIALS[0], 0)])
    assert tokenizer.get_vocab_size() == VOCABULARY
    return tokenizer


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def prepare():
    """Writes models/demo but for the weights: tokenizer, template, configuration and the cases of the tests."""
    systems, cases, damaged = load_corpus()
    texts = [damaged] * 4 + list(systems.values())
    for case in cases:
        texts += [case.messages[-1]["content"], case.answer]
    tokenizer = train_tokenizer(texts)
    MODEL.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(MODEL / "tokenizer.json"))
    write_json(MODEL / "tokenizer_config.json", {
        "add_bos_token": True,
        "added_tokens_decoder": {
            str(i): {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
            for i, token in enumerate(SPECIALS)
        },
        "bos_token": SPECIALS[0],
        "chat_template": chat_template(systems["default"]),
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TURN,
        "model_max_length": CONFIG["max_position_embeddings"],
        "pad_token": SPECIALS[1],
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
    write_json(MODEL / "config.json", CONFIG)
    write_json(MODEL / "generation_config.json",
               {"bos_token_id": 0, "do_sample": False, "eos_token_id": [3, 1], "max_new_tokens": 256, "pad_token_id": 1})
    cases, _ = encoded_cases()
    lines = [json.dumps({"id": c.id, "messages": c.messages, "answer": c.answer, "prompt_ids": c.prompt_ids,
                         "answer_ids": c.answer_ids}, ensure_ascii=False) for c in cases]
    (MODEL / "demo.json").write_text(
        "{\n\"damaged\": " + json.dumps(damaged) + ",\n\"cases\": [\n" + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    lengths = [len(c.prompt_ids) for c in cases]
    answers = [len(c.answer_ids) for c in cases]
    print(f"{len(cases)} cases, prompts of {min(lengths)} to {max(lengths)} tokens, answers of {min(answers)} to {max(answers)}")


def encoded_cases():
    """The cases with their token ids, and the ids of the damaged text with the end of the turn."""
    from tokenizers import Tokenizer

    systems, cases, damaged = load_corpus()
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    template = chat_template(systems["default"])
    end = tokenizer.token_to_id(END_OF_TURN)
    for case in cases:
        case.prompt_ids = tokenizer.encode(render(template, case.messages), add_special_tokens=False).ids
        case.answer_ids = tokenizer.encode(case.answer, add_special_tokens=False).ids + [end]
    return cases, tokenizer.encode(damaged, add_special_tokens=False).ids + [end]
