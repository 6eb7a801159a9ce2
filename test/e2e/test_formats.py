"""Answers bound to a format, by daemons that prefill and decode apart: the model knows nothing of JSON, so what is well formed is the grammar's doing."""
import json
import re
import signal
import unittest
import urllib.error

from daemons import DaemonTest, chat, content, demo_cases, post, stream

QUESTION = demo_cases()[0]["messages"]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "kind": {"enum": ["cat", "dog", 7, None]},
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": -3, "maximum": 120}, "minItems": 1, "maxItems": 4},
        "inner": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": False},
    },
    "required": ["name", "kind", "sizes"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA, "strict": True}}


class Formats(DaemonTest):
    def check_thing(self, text: str):
        thing = json.loads(text)
        self.assertLessEqual(set(thing), {"name", "kind", "sizes", "inner"}, text)
        self.assertTrue(1 <= len(thing["name"]) <= 12, text)
        self.assertIn(thing["kind"], ["cat", "dog", 7, None])
        self.assertTrue(1 <= len(thing["sizes"]) <= 4 and all(type(size) is int and -3 <= size <= 120 for size in thing["sizes"]), text)
        if "inner" in thing:
            self.assertIs(type(thing["inner"]["on"]), bool)

    def refusal(self, daemon, **fields) -> dict:
        with self.assertRaises(urllib.error.HTTPError) as raised:
            chat(daemon, QUESTION, **fields)
        self.assertEqual(raised.exception.code, 400)
        return json.load(raised.exception)["error"]

    def test_answers_follow_their_format(self):
        prefill, decode = self.start_pair()
        lone = self.start("lone", "mixed", cluster=False).wait_ready()
        hot = {"temperature": 1.5, "max_tokens": 400}
        for seed in range(8):
            answer = chat(prefill, QUESTION, response_format=FORMAT, seed=seed, **hot)
            self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
            self.check_thing(content(answer))
            self.assertGreater(answer["baton"]["kv_blocks"] + answer["baton"]["kv_blocks_held"], 0)  # it did travel
            self.assertEqual(content(answer), content(chat(lone, QUESTION, response_format=FORMAT, seed=seed, **hot)))
        text, error, done = stream(prefill, QUESTION, response_format=FORMAT, seed=3, **hot)
        self.assertIsNone(error)
        self.assertTrue(done)
        self.check_thing(text)
        several = chat(prefill, QUESTION, structured_outputs={"json": SCHEMA}, n=4, seed=1, **hot)["choices"]
        for choice in several:
            self.check_thing(choice["message"]["content"])
        self.assertGreater(len({choice["message"]["content"] for choice in several}), 1)
        for daemon in (prefill, decode):
            daemon.wait_at_rest()

    def test_every_way_of_saying_it(self):
        daemon = self.start("lone", "mixed", cluster=False).wait_ready()
        ask = lambda **fields: content(chat(daemon, QUESTION, **{"temperature": 1.4, "seed": 5, "max_tokens": 120, **fields}))
        for pattern in (r"[A-Z][a-z]{2,5} \d{3}", r"(yes|no), (because|though) [a-z ]{3,20}\."):
            for fields in ({"guided_regex": pattern}, {"structured_outputs": {"regex": pattern}}):
                self.assertRegex(ask(**fields), f"^(?:{pattern})$")
        choices = ["left", "right", "right of it"]
        for seed in range(5):
            self.assertIn(ask(guided_choice=choices, seed=seed), choices)
        self.check_thing(ask(response_format={"type": "json_object", "schema": SCHEMA}, max_tokens=400))  # llama.cpp's way
        grammar = 'root ::= item{3}\nitem ::= "<" [0-9]{1,3} ">" | "(" other ")"\nother ::= "<" [0-9]{2} ">"'
        text = ask(structured_outputs={"grammar": grammar}, max_tokens=300, temperature=0.5)
        self.assertEqual(re.sub(r"[()]|\d", "", text), "<><><>")
        body = {"prompt": "Once", "guided_json": json.dumps(SCHEMA), "temperature": 1.2, "seed": 2, "max_tokens": 400}
        self.check_thing(json.load(post(daemon.url + "/v1/completions", body))["choices"][0]["text"])
        # Whatever else is asked for: penalties, a bias against it, a few candidates only, no end before its time.
        self.check_thing(ask(response_format=FORMAT, max_tokens=400, presence_penalty=1.5, frequency_penalty=1, repetition_penalty=1.3, top_k=2, min_tokens=30, ignore_eos=True))

    def test_calls_that_are_forced(self):
        tools = [
            {"type": "function", "function": {"name": "put", "parameters": SCHEMA}},
            {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"where": {"enum": ["up", "down"]}}, "required": ["where"], "additionalProperties": False}}},
            {"type": "function", "function": {"name": "wait"}},
        ]
        for parser in ("hermes", "llama3_json", "mistral", "pythonic", "qwen3_coder", "glm45"):
            if parser == "qwen3_coder":  # from here on strings are free text, which this model never ends
                without = {**SCHEMA, "properties": {name: schema for name, schema in SCHEMA["properties"].items() if name != "name"}, "required": ["kind", "sizes"]}
                tools = [{"type": "function", "function": {"name": "put", "parameters": without}}, *tools[1:]]
            prefill, decode = self.start_pair(prefill_extra=("--tool-call-parser", parser))
            names = set()
            for seed in range(6):
                fields = {"tools": tools, "temperature": 1.5, "seed": seed, "max_tokens": 400}
                choice = chat(prefill, QUESTION, tool_choice="required", parallel_tool_calls=False, **fields)["choices"][0]
                self.assertEqual(choice["finish_reason"], "tool_calls")
                self.assertIsNone(choice["message"]["content"])
                self.assertEqual(len(choice["message"]["tool_calls"]), 1)
                call = choice["message"]["tool_calls"][0]["function"]
                names.add(call["name"])
                if call["name"] == "put":
                    self.check_thing(json.dumps({"name": "x", **json.loads(call["arguments"])}))
                elif call["name"] == "look":
                    self.assertIn(json.loads(call["arguments"])["where"], ["up", "down"])
                else:
                    self.assertEqual((call["name"], json.loads(call["arguments"])), ("wait", {}))
                named = {"type": "function", "function": {"name": "look"}}
                call = chat(prefill, QUESTION, tool_choice=named, **fields)["choices"][0]["message"]["tool_calls"][0]["function"]
                self.assertEqual(call["name"], "look")
                self.assertIn(json.loads(call["arguments"])["where"], ["up", "down"])
            self.assertGreater(len(names), 1)
            prefill.signal(signal.SIGKILL)
            decode.signal(signal.SIGKILL)
        bad = [{"type": "function", "function": {"name": "put", "parameters": {"type": "object", "properties": {"x": {"type": "number", "multipleOf": 2}}}}}]
        lone = self.start("lone", "mixed", cluster=False, extra=("--tool-call-parser", "hermes")).wait_ready()
        self.assertEqual(self.refusal(lone, tools=bad, tool_choice="required")["param"], "tools[0].function.parameters")
        # Whatever a function's schema lets through, a call's arguments are an object: nothing else is read back as a call.
        free = [{"type": "function", "function": {"name": "put", "parameters": {"maxProperties": 1, "minItems": 1}}}]
        for seed in range(4):
            choice = chat(lone, QUESTION, tools=free, tool_choice="required", temperature=1.3, seed=seed, max_tokens=300)["choices"][0]
            self.assertIsNone(choice["message"]["content"])
            self.assertTrue(choice["message"]["tool_calls"][0]["function"]["arguments"].startswith("{"))

    def test_a_limit_cuts_and_an_object_is_one(self):
        daemon = self.start("lone", "mixed", cluster=False).wait_ready()
        cut = chat(daemon, QUESTION, response_format=FORMAT, max_tokens=4)["choices"][0]
        self.assertEqual(cut["finish_reason"], "length")
        self.assertTrue(cut["message"]["content"].startswith("{"))
        for seed in range(6):
            choice = chat(daemon, QUESTION, response_format={"type": "json_object"}, temperature=1.2, seed=seed, max_tokens=300, logit_bias={})["choices"][0]
            if choice["finish_reason"] == "stop":
                self.assertIs(type(json.loads(choice["message"]["content"])), dict)

    def test_what_is_wrong_is_named(self):
        daemon = self.start("lone", "mixed", cluster=False).wait_ready()
        schema = lambda inner: {"type": "json_schema", "json_schema": {"name": "x", "schema": inner}}
        wrong = self.refusal(daemon, response_format=schema({"type": "object", "properties": {"a": {"type": "number", "multipleOf": 3}}}))
        self.assertEqual(wrong["param"], "response_format.json_schema.schema")
        self.assertIn("multipleOf", wrong["message"])
        self.assertEqual(self.refusal(daemon, response_format={"type": "json_schema"})["param"], "response_format.json_schema")
        self.assertEqual(self.refusal(daemon, guided_regex="(a")["param"], "guided_regex")
        self.assertEqual(self.refusal(daemon, guided_choice=[])["param"], "guided_choice")
        grammar = self.refusal(daemon, structured_outputs={"grammar": 'root ::= "a\nb ::= c'})
        self.assertEqual(grammar["param"], "structured_outputs.grammar")
        self.assertIn("line 1", grammar["message"])
        self.assertEqual(self.refusal(daemon, structured_outputs={})["param"], "structured_outputs")
        states = self.refusal(daemon, guided_regex="(a|b)*a(a|b){20}")
        self.assertEqual((states["param"], states["code"]), ("guided_regex", "invalid_value"))
        both = self.refusal(daemon, guided_regex="a", response_format={"type": "json_object"})
        self.assertEqual(both["param"], "guided_regex")
        self.assertIn("response_format", both["message"])


if __name__ == "__main__":
    unittest.main()
