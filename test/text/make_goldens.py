#!/usr/bin/env python3
"""Makes the golden data of test/text, for development: pip install jinja2 'tokenizers>=0.20,<0.23'.

data/jinja_goldens.json: templates (data/templates/*.jinja and the small ones below) rendered by Python's jinja2, set up as Hugging Face
transformers sets it up. data/tokenizers/<name>/tokenizer.json: small tokenizers trained here, and data/tokenizer_goldens.json: what
Hugging Face tokenizers makes of some texts with them.
"""

import json
import pathlib
import random
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE / "data"


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what the assistant wrote; rendering only passes it through."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    def _pass(self, caller):
        return caller()


class TemplateRaised(Exception):
    pass


def raise_exception(message):
    raise TemplateRaised(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: "NOW"
    return env


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather\nof a place: <b>\u00e9</b> & more",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A city,\ne.g. \u6771\u4eac"},
                "days": {"type": "integer"},
                "units": {"type": "string", "enum": ["C", "F"], "description": "Units"},
                "where": {"type": "object", "properties": {"lat": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["lat"]},
            },
            "required": ["place"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}, "return": {"type": "string"}}}
CALL = {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments": {"place": "Z\u00fcrich", "days": 2, "x": [1.5, None, True, 1e-7, 1e20]}}}
CLOCK_CALL = {"type": "function", "function": {"name": "clock", "arguments": {}}}

SYSTEM = {"role": "system", "content": "  You are terse. \n"}
USER = {"role": "user", "content": "Hi there, \u4f60\u597d \U0001F999!"}
ANSWER = {"role": "assistant", "content": " Hello. "}
MORE = {"role": "user", "content": "What's 2+2? <|im_end|> {{ x }}"}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nFour."}
TOOL_TURN = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL_ANSWER = {"role": "tool", "tool_call_id": "abcdef123", "content": "{\"t\": 21}"}
PARTS = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " Look "}]}

CONVERSATIONS = {
    "one": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ANSWER, MORE],
    "long": [SYSTEM, USER, ANSWER, MORE, THOUGHT],
    "tools": [SYSTEM, USER, TOOL_TURN, TOOL_ANSWER, ANSWER, MORE],
    "tool_last": [USER, TOOL_TURN, TOOL_ANSWER],
    "parts": [PARTS],
    "wrong_order": [USER, USER],
}

# As harmony's template wants them: no content that is null, the reasoning by its own name.
SILENT_CALL = {"role": "assistant", "tool_calls": [CALL]}
THOUGHTFUL_CALL = {**SILENT_CALL, "thinking": "A call\nis due."}
OF_HARMONY = {
    "calls": [SYSTEM, USER, THOUGHTFUL_CALL, TOOL_ANSWER, SILENT_CALL, TOOL_ANSWER],
    "answered_calls": [USER, THOUGHTFUL_CALL, TOOL_ANSWER, {**ANSWER, "thinking": "Done."}, MORE],
    "answered": [USER, {**ANSWER, "thinking": "Done."}],
    "developer": [{**SYSTEM, "role": "developer"}, USER, {**SILENT_CALL, "content": "So."}, TOOL_ANSWER],
    "both": [USER, {**THOUGHTFUL_CALL, "content": "So."}],
    "no_call": [USER, TOOL_ANSWER],
}

# As GLM's template wants them: the reasoning apart or in the text, results one by one or in a list.
OF_GLM45 = {
    "calls": [SYSTEM, USER, {**SILENT_CALL, "content": "", "reasoning_content": "\nA call\nis due. "}, TOOL_ANSWER, TOOL_ANSWER],
    "two_calls": [USER, {**SILENT_CALL, "content": " Both. ", "tool_calls": [CALL, CLOCK_CALL]}, {"role": "tool", "content": [{"output": "21"}, "22"]}],
    "thought": [USER, THOUGHT],
    "silent": [USER, THOUGHT, {"role": "user", "content": [{"type": "text", "text": "So?"}, 5, "/nothink"]}],
    "no_call": [TOOL_ANSWER, {"role": "user", "content": {"a": 1}}],
}
OF_TEMPLATE = {"harmony": OF_HARMONY, "glm45": OF_GLM45}
# In these, thinking is off.
THOUGHTLESS = ("long", "two_calls", "silent")

SMALL = [
    # whitespace control
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a {%- if true -%} b {%- endif -%} c", "  {% if true +%}\n x\n{% endif %}\n\n y", " {%+ if true %}x{% endif %}",
    "{{ 1 }}\n{{ 2 }}\n", "x  {#- c -#}  y", "x\n {# c #}\ny", "{% raw %}{{ x }}{% endraw %}\nz", " {%- raw -%} {% a %} {%- endraw -%} z", "a\r\nb\rc\n", "\n\n{% set x = 1 %}\n\n{{ x }}",
    "{{ '}}' }}{{ {'a': {'b': 1}}['a'] }}", "{{- 1 -}} {{+ 2 }}", "{% if true %}\t\n{% endif %}|",
    # values and printing
    "{{ none }} {{ true }} {{ 1.0 }} {{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1/3 }} {{ -7//2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2**10 }} {{ 2**-1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}",
    "{{ [1, 'a', none, true, 1.5, \"it's\", 'q\"q', '\\n\\t\\\\', (1,), (), {}, {'k': [2]}] }}", "{{ {'a': 1, 2: 'b'} }}", "{{ ('\\x00\\x7f\\u200b\\u00e9\\U0001F600',) }}", "{{ undefined_name }}|{{ x.y }}",
    "{{ 1 + 2 * 3 - 4 / 2 }} {{ 'a' ~ 1 + 2 ~ 'b' }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }} {{ (1, 2) + (3,) }}", "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }}",
    "{{ 'a' in 'cat' }} {{ 1 in [1] }} {{ 'k' in {'k': 1} }} {{ 'z' not in 'cat' }} {{ 1 in undefined_name }}", "{{ not 1 == 2 }} {{ not true and false }} {{ 1 and 0 or 'x' }} {{ '' or none }} {{ [] and 1 }}",
    "{{ 'yes' if 0 else 'no' }} {{ 'only' if false }}| {{ 1 if true else 2 if false else 3 }}", "{{ -2 ** 2 }} {{ -x.n }} {{ +5 }} {{ - 5 | abs }} {{ 3 - -2 }}", "{{ 1, 2 }} {{ (1, 2)[0] }} {{ () }}",
    "{{ 'a' 'b' }} {{ \"\\\"\" }} {{ '\\'' }} {{ '\\d' }} {{ '\\101' }} {{ 1_000 }}",
    # indexing
    "{{ x.s[0] }} {{ x.s[-1] }} {{ x.s[1:3] }} {{ x.s[::-1] }} {{ x.s[-3:] }} {{ x.s[:-1] }} {{ x.s[10] }}|", "{{ x.l[0] }} {{ x.l[1:] }} {{ x.l[::2] }} {{ x.l[-2:0:-1] }} {{ x.l[5:1] }} {{ x.l[-100:100] }} {{ x.l[9] }}|",
    "{{ x['n'] }} {{ x.missing }}| {{ x['items'] }} {{ x.d.items() | list }} {{ x.d['keys'] }} {{ x.d.keys() | list }} {{ x.d.values() | list }} {{ x.d.get('keys') }} {{ x.d.get('no') }} {{ x.d.get('no', 5) }}", "{{ x.l.0 }}",
    # statements
    "{% for i in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}{% for k, v in x.d.items() %}{{ k }}={{ v }},{% endfor %}", "{% for i in range(10) if i % 2 %}{{ i }}{{ loop.length }}{% else %}none{% endfor %}",
    "{% for i in [] %}x{% else %}empty{% endfor %}", "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% set a = 1 %}{% for i in [1, 2] %}{% set a = a + i %}{{ a }}{% endfor %}{{ a }}", "{% set ns = namespace(a=1) %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% if true %}{% set q = 5 %}{% endif %}{{ q }}", "{% set a, b = 1, 2 %}{{ b }}{{ a }}", "{% set t %}<{{ 1 + 1 }}>{% endset %}{{ t }}{{ t | length }}", "{% set t | upper | trim %} abc {% endset %}[{{ t }}]",
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, c='y') }}{{ m(b=3, a=0) }}{{ m() }}{{ m.name }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}",
    "{% macro m() %}[{{ caller('hi') }}]{% endmacro %}{% call(w) m() %}{{ w }}!{% endcall %}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% set v = 1 %}{% macro m() %}{{ v }}{% endmacro %}{% set v = 2 %}{{ m() }}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "{% filter upper | replace('A', 'b') %}abc{{ 1 }}{% endfilter %}",
    "{% if 0 %}a{% elif '' %}b{% elif x %}c{% else %}d{% endif %}", "{% for i in [1, 2] %}{% for j in [1, 2] %}{{ loop.depth }}{{ loop.index }}{% endfor %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for c in 'h\u00e9\U0001F999' %}{{ c }},{% endfor %}",
    "{% set j = joiner('|') %}{% for i in range(3) %}{{ j() }}{{ i }}{% endfor %}", "{{ dict(a=1, b=2) }} {{ dict({'z': 1}, y=2) }}", "{{ range(5) | list }} {{ range(2, 8, 3) | list }} {{ range(5, 0, -2) | list }}",
    # tests
    "{{ 1 is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.5 is float }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is sequence }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ none is none }} {{ q is undefined }} {{ x is defined }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ true is boolean }}",
    "{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 'A' is upper }} {{ 'a1' is lower }} {{ 1 is in [1] }} {{ 2 is not in [1] }} {{ 5 is gt 3 }} {{ 5 is eq 5 }} {{ 'a' is eq('b') }} {{ 1 is sameas 1 }} {{ range is callable }} {{ x.missing is not defined }}",
    "{{ x.d is mapping and x.l is sequence or false }} {{ x is not string }} {{ not x is string }} {{ 1 if x.n is defined else 2 }}",
    # filters
    "{{ [1, 2] | join }} {{ [1, 'b'] | join(', ') }} {{ x.people | join(',', attribute='name') }} {{ 'abc' | join('-') }}", "{{ ' a ' | trim }}| {{ '--a--' | trim('-') }} {{ 'h\u00c9llo wORLD' | capitalize }} {{ 'hello wORLD-foo (bar) it\\'s' | title }} {{ 'stra\u00dfe' | upper }} {{ '\u0130' | lower }}",
    "{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb' | indent(2, true) }}|{{ 'a\\n\\nb' | indent('> ', blank=true) }}", "{{ q | default('d') }} {{ '' | default('d') }} {{ '' | default('d', true) }} {{ none | d('z') }} {{ 0 | d('z', boolean=true) }}",
    "{{ '42' | int }} {{ ' 7.9 ' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 3.9 | int }} {{ '1.5' | float }} {{ 'x' | float }} {{ 2 | float }} {{ none | int }} {{ -3 | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.567 | round(2) }} {{ 2.1 | round(0, 'ceil') }} {{ 2.9 | round(method='floor') }} {{ 7 | round }}",
    "{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ [1, 3] | sort(reverse=true) }} {{ x.people | sort(attribute='age') | map(attribute='name') | list }}", "{{ {'b': 1, 'a': 2, 'C': 0} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }}",
    "{{ x.people | selectattr('age', 'gt', 30) | map(attribute='name') | list }} {{ x.people | rejectattr('age', 'equalto', 31) | list | length }} {{ x.people | selectattr('flag') | list | length }} {{ [0, 1, 2] | select | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 2] | reject('even') | list }}",
    "{{ ['a', 'b'] | map('upper') | list }} {{ [[1, 2], [3]] | map('length') | list }} {{ ['1'] | map('int') | list }} {{ x.people | map(attribute='zip', default='-') | join }} {{ [[5, 6]] | map(attribute=1) | list }}",
    "{{ [1, 1, 2] | unique | list }} {{ ['a', 'A'] | unique | list }} {{ [1, 2] | first }} {{ [1, 2] | last }} {{ [] | first }}| {{ [1, 2] | reverse | list }} {{ 'abc' | reverse }} {{ [1, 5, 3] | max }} {{ [4, 2] | min }} {{ [1, 2] | sum }} {{ x.people | sum(attribute='age') }}",
    "{{ 'aXbX' | replace('X', '--') }} {{ 'aXbX' | replace('X', '', 1) }} {{ 'ab' | replace('', '.') }} {{ x.s | length }} {{ x.d | length }} {{ q | length }} {{ x.l | count }} {{ 'a b' | wordcount }} {{ 'x' | center(5) }}| {{ '<a&\"\\'>' | e }} {{ '<a>' | safe }} {{ [1, 2] | string }}",
    "{{ [1, 2, 3] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 'x') | list }} {{ 'abc' | list }} {{ x.d | list }} {{ x.d | items | list }} {{ '%s and %d' | format('a', 5) }} {{ '%05.2f|%x|%%|%r' % (3.14159, 255, 'q') }} {{ '%(a)s' % {'a': 1} }} {{ '%s' % 'x' }}",
    "{% for g, l in x.people | groupby('flag') %}{{ g }}:{{ l | map(attribute='name') | join('+') }};{% endfor %}",
    # tojson
    "{{ x | tojson }}", "{{ x | tojson(indent=2) }}", "{{ [] | tojson }} {{ {} | tojson(indent=4) }} {{ [[]] | tojson(indent=1) }} {{ '\u00e9\\u2028\\x7f\\x01\\b\\f/' | tojson }} {{ '\u00e9\U0001F999' | tojson(ensure_ascii=true) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ [1, 2] | tojson(separators=(',', ':')) }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}",
    # methods
    "{{ ' a b '.strip() }}|{{ 'xxaxx'.strip('x') }} {{ 'a,b,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ 'a b c'.rsplit(None, 1) }} {{ ' a b c'.split(None, 1) }} {{ 'a\\nb\\r\\nc'.splitlines() }} {{ 'a\\n'.splitlines(true) }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.startswith('') }} {{ 'aBc'.upper() }} {{ 'ABC'.lower() }} {{ \"they're bill's\".title() }} {{ 'ABC d'.capitalize() }} {{ 'aaa'.replace('a', 'b', 2) }} {{ ', '.join(['a', 'b']) }} {{ 'h\u00e9llo'.find('l') }} {{ 'abc'.find('z') }} {{ 'banana'.count('an') }} {{ 'abcb'.rfind('b') }} {{ 'abc'.index('c') }}",
    "{{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ 'AB'.isupper() }} {{ 'ab'.islower() }} {{ ''.isdigit() }} {{ 'a-b'.partition('-') }} {{ 'ab'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3, '.') }} {{ 'a'.rjust(3) }} {{ 'a'.center(4, '*') }} {{ 'ab'.center(5, '*') }} {{ 'prefix'.removeprefix('pre') }} {{ 'a.py'.removesuffix('.py') }}",
    "{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format('a', 'b') }} {{ '{x}'.format(x=5) }} {{ '{{}}'.format() }} {{ '{:.2f}'.format(1.5) }} {{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }} {{ x.d.copy() }}", "{{ x.s.upper().lower().split('l')[0] }} {{ ('a' ~ 'b').upper() }} {{ 'a'.upper is defined }}",
    # errors
    "{{ raise_exception('my words') }}", "{{ x.missing.more }}", "{{ q.more }}", "{{ q() }}", "{{ 1 + 'a' }}", "{{ 'a' + none }}", "{{ q + 1 }}", "{{ 1 / 0 }}", "{{ x.l.append(1) }}", "{{ none < 1 }}", "{{ 1 | nofilter }}", "{{ 1 is notest }}", "{{ none | length }}", "{{ q | tojson }}",
    "{% for a, b in [1] %}{% endfor %}", "{% for a in 5 %}{% endfor %}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{{ 'a'.join([1]) }}", "{{ [][0].x }}", "{{ {} [[]] }}", "{% set q.a = 1 %}", "{{ range(1000000) }}", "{{ q['a'] }}", "{{ {} < {} }}",
    # syntax errors
    "{% if %}", "{% if true %}", "{{ 1 + }}", "{{ (1 }}", "{% endif %}", "{% nonsense %}", "{{ 'a }}", "{# c", "{% for x %}{% endfor %}", "{{ a b }}", "{% set %}", "{% raw %}x", "{{ f(a=1, 2) }}", "{{ [1, }}", "{{ x. }}", "{% break %}", "{{ ! }}",
]
X = {"n": 3, "s": "h\u00e9llo", "l": [1, 2, 3, 4], "d": {"keys": 1, "b": None}, "items": "it",
     "people": [{"name": "Ann", "age": 31, "flag": True}, {"name": "Bob", "age": 25, "flag": False}, {"name": "Cy", "age": 40, "flag": True}]}


def render(env, source, variables):
    try:
        return {"expected": env.from_string(source).render(**variables)}
    except TemplateRaised as error:
        return {"raises": str(error)}
    except Exception as error:  # jinja2's, and Python's own from inside a template
        return {"fails": type(error).__name__}


def jinja_goldens():
    env = environment()
    cases = []
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    for path in sorted((DATA / "templates").glob("*.jinja")):
        for name, messages in {**CONVERSATIONS, **OF_TEMPLATE.get(path.stem, {})}.items():
            for extra_name, extra in (("", {}), ("+tools", {"tools": [WEATHER, CLOCK]})):
                variables = {"messages": messages, "add_generation_prompt": len(name) % 2 == 0, "date_string": "26 Jul 2024", **extra}
                if name in THOUGHTLESS:
                    variables["enable_thinking"] = False
                case = {"name": f"{path.stem}/{name}{extra_name}", "file": path.name, "variables": variables}
                cases.append({**case, **render(env, path.read_text(encoding="utf-8"), {**tokens, **variables})})
    for number, source in enumerate(SMALL):
        cases.append({"name": f"small {number}", "template": source, "variables": {"x": X}, **render(env, source, {**tokens, "x": X})})
    return cases


CORPUS_WORDS = """the of and to in is that it was for on are as with his they at be this from have or by one had not but what all were when we there can an your which
their said if do will each about how up out them then she many some so these would other into has more her two like him see time could no make than first been its who now people my made
over did down only way find use may water long little very after words called just where most know prefill decode cache token block route engine request stream latency""".split()


def corpus():
    rng = random.Random(5)
    lines = [" ".join(rng.choice(CORPUS_WORDS) for _ in range(rng.randint(4, 14))) + rng.choice([".", "!", "?", ";"]) for _ in range(400)]
    lines += ["def f(x):\n    return x + 1  # don't", "größe straße über", "привет мир", "你好 世界", "x = [1, 2, 33, 4444]", "It's we're I'll they've I'd I'm"] * 12
    return lines


TEXTS = ["", " ", "  ", "a", "Hello world", " Hello  world ", "the prefill engine's cache isn't\n\n full; 12345 tokens!!", "\t\n \r\n x", "größe Straße ÜBER", "привет, мир", "你好世界 你好", "🦙🦙🏽 👨‍👩‍👧",
         "e\u0301 \u212b \ufb01 ｆｕｌｌ", "<s>the</s> <unk>", "<|end|>the <|end|> x", "a <mask> b<mask>c", "word wordy words", "\u2581the \u2581", "\u0120the", "nul \x00 \x7f \u0085 \u00a0 \u3000 \u200b", "a" * 200,
         "the" * 50, " " * 60 + "the", "def f(x):\n    return x + 1  # don't", "1234567 3.14 １２３", "they'll THEY'LL they’ll"]


def tokenizer_goldens():
    import tokenizers
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    def train(model, pre, norm, size, alphabet, specials):
        t = Tokenizer(model)
        t.pre_tokenizer, t.normalizer = pre, norm
        t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False))
        return t

    made = {}
    bytes_alphabet = pre_tokenizers.ByteLevel.alphabet()
    llama = train(models.BPE(ignore_merges=True),
                  pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
                                           pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), None, 700, bytes_alphabet, ["<s>", "</s>", "<|end|>"])
    llama.decoder = decoders.ByteLevel()
    llama.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    llama.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False), AddedToken("word", single_word=True, normalized=True)])
    made["byte_level"] = llama
    gpt2 = train(models.BPE(), pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)]),
                 normalizers.NFC(), 600, bytes_alphabet, ["<|end|>"])
    gpt2.decoder = decoders.ByteLevel()
    made["gpt2"] = gpt2
    byte_tokens = [f"<0x{b:02X}>" for b in range(256)]
    spm = train(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True), None,
                normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), 256 + 300, [], ["<unk>", "<s>", "</s>"] + byte_tokens)
    plain = json.loads(spm.to_str())
    plain["added_tokens"] = [t for t in plain["added_tokens"] if not t["content"].startswith("<0x")]
    spm = Tokenizer.from_str(json.dumps(plain))
    spm.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    spm.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    spm.add_tokens([AddedToken("<|end|>", rstrip=True, normalized=False)])
    made["spm"] = spm
    meta = train(models.BPE(unk_token="<unk>", fuse_unk=False), pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation("merged_with_previous")]),
                 normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(left=False, right=True)]), 400, [], ["<unk>", "<|end|>"])
    meta.decoder = decoders.Metaspace(prepend_scheme="first")
    made["metaspace"] = meta

    cases = []
    rng = random.Random(7)
    for name, t in made.items():
        folder = DATA / "tokenizers" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(json.loads(t.to_str()), ensure_ascii=False), encoding="utf-8")
        for text in TEXTS:
            ids = t.encode(text, add_special_tokens=False).ids
            all_ids = t.encode(text).ids
            cases.append({"tokenizer": name, "text": text, "ids": ids, "with_special": all_ids, "decoded": t.decode(all_ids, skip_special_tokens=False), "decoded_skip": t.decode(all_ids)})
        for _ in range(12):
            ids = [rng.randrange(t.get_vocab_size()) for _ in range(14)]
            cases.append({"tokenizer": name, "with_special": ids, "decoded": t.decode(ids, skip_special_tokens=False), "decoded_skip": t.decode(ids)})
    return cases


def write(name, cases):
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    (DATA / name).write_text("[\n" + lines + "\n]\n", encoding="utf-8")
    print(f"{name}: {len(cases)} cases")


if __name__ == "__main__":
    write("jinja_goldens.json", jinja_goldens())
    write("tokenizer_goldens.json", tokenizer_goldens())
    sys.exit(0)
