"""Tool calls and reasoning from a real model. The demo model knows nothing of tools, but its answers are known to the token: with a tokenizer that spells an early
and a late one otherwise, the same tokens are a call whose argument is what lies between them."""
import importlib.util
import json
import pathlib
import shutil
import tempfile
import unittest

from daemons import SOURCE, DaemonTest, chat, demo_cases, post

CASE = next(case for case in demo_cases() if case["id"] == "what-does-the-daemon-do")
IDS = CASE["answer_ids"]
LATE = len(IDS) - 3  # before the full stop and the end
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"text": {"type": "string"}}}}}]
BEGIN = '{"name": "look_up", "arguments": {"text": "'


def between(first):
    """The answer's text from one token to the late one."""
    vocabulary = json.loads((SOURCE / "models/demo/tokenizer.json").read_text())["model"]["vocab"]
    words = {number: word.replace("\u0120", " ") for word, number in vocabulary.items()}
    text = "".join(words[i] for i in IDS[first:LATE])
    assert text in CASE["answer"]
    return text


class Tools(DaemonTest):
    def model(self, spellings, note=""):
        """The demo model with other spellings of some tokens, (position in the answer, text, special), and a note in its chat template."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        copy = pathlib.Path(folder.name, "demo")
        shutil.copytree(SOURCE / "models/demo", copy)
        tokenizer = json.loads((copy / "tokenizer.json").read_text())
        model = tokenizer["model"]
        for position, text, special in spellings:
            number = IDS[position]
            self.assertTrue(IDS.count(number) == 1 and number not in CASE["prompt_ids"], position)
            word = next(word for word, other in model["vocab"].items() if other == number)
            del model["vocab"][word]
            model["vocab"][text] = number
            model["merges"] = [merge for merge in model["merges"] if "".join(merge) != word]
            if special:
                tokenizer["added_tokens"].append({"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                                                  "normalized": False, "special": True})
        (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
        config = json.loads((copy / "tokenizer_config.json").read_text())
        config["chat_template"] = "{#- " + note + " #}" + config["chat_template"]
        (copy / "tokenizer_config.json").write_text(json.dumps(config))
        return ["--model", str(copy)]

    def hermes(self):
        first = "<think>\nHm.\n</think>\n\n<tool_call>\n" + BEGIN
        return self.model([(0, first, False), (LATE, '"}}\n</tool_call>\n', False)], "<tool_call> </think>")

    def streamed(self, daemon, **fields):
        """(reasoning, content, call's name, call's arguments, reason), put together as clients do it."""
        reasoning, content, name, arguments, reason = "", "", "", "", None
        body = {"messages": CASE["messages"], "temperature": 0, "stream": True, "tools": TOOLS, **fields}
        with post(daemon.url + "/v1/chat/completions", body) as response:
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                choice = json.loads(line[6:])["choices"][0]
                delta = choice["delta"]
                reasoning += delta.get("reasoning_content", "")
                content += delta.get("content", "")
                for call in delta.get("tool_calls", []):
                    self.assertEqual(call["index"], 0)
                    name += call["function"].get("name", "")
                    arguments += call["function"]["arguments"]
                reason = choice["finish_reason"] or reason
        return reasoning, content, name, arguments, reason

    def test_the_template_tells_and_engines_do_not_matter(self):
        prefill, decode = self.start_pair(prefill_extra=self.hermes(), decode_extra=self.hermes())
        self.assertRegex(prefill.log_text(), r"tool_calls=hermes.*reasoning=think")
        for daemon in (prefill, decode):
            choice = chat(daemon, CASE["messages"], tools=TOOLS)["choices"][0]
            message = choice["message"]
            self.assertEqual(choice["finish_reason"], "tool_calls")
            self.assertEqual((message["reasoning_content"], message["content"]), ("Hm.", "."))
            self.assertEqual(len(message["tool_calls"]), 1)
            function = message["tool_calls"][0]["function"]
            self.assertEqual(function["name"], "look_up")
            self.assertEqual(json.loads(function["arguments"]), {"text": between(1)})
            self.assertEqual(self.streamed(daemon), ("Hm.", ".", "look_up", function["arguments"], "tool_calls"))
        # Without tools the call is text; the reasoning is taken out all the same.
        message = chat(prefill, CASE["messages"])["choices"][0]["message"]
        self.assertTrue(message["content"].startswith("<tool_call>\n"), message)
        self.assertEqual(message["reasoning"], "Hm.")
        cut = chat(prefill, CASE["messages"], tools=TOOLS, max_tokens=5)["choices"][0]
        self.assertEqual(cut["finish_reason"], "length")
        self.assertTrue(cut["message"]["tool_calls"][0]["function"]["arguments"].startswith('{"text": "' + between(1)[:5]))

    def test_a_flag_tells_and_special_tokens_reach_the_parser(self):
        model = self.model([(0, "[TOOL_CALLS]", True), (1, "[" + BEGIN, False), (LATE, '"}}]', False)])
        daemon = self.start("alone", cluster=False, extra=model + ["--tool-call-parser", "mistral"]).wait_ready()
        call = chat(daemon, CASE["messages"], tools=TOOLS)["choices"][0]["message"]["tool_calls"][0]
        self.assertEqual(json.loads(call["function"]["arguments"]), {"text": between(2)})
        self.assertRegex(call["id"], "^[0-9A-Za-z]{9}$")
        plain = chat(daemon, CASE["messages"])["choices"][0]["message"]
        self.assertTrue(plain["content"].startswith("[" + BEGIN), plain)

    def test_text_between_tags_is_a_value_and_reasoning_is_counted(self):
        first = "<think>\nHm.\n</think>\n\n<tool_call>\n<function=look_up>\n<parameter=text>\n"
        model = self.model([(0, first, False), (LATE, "\n</parameter>\n</function>\n</tool_call>\n", False)], "<tool_call> <function= <parameter= </think>")
        daemon = self.start("alone", cluster=False, extra=model).wait_ready()
        self.assertRegex(daemon.log_text(), r"tool_calls=qwen3_coder.*reasoning=think")
        answer = chat(daemon, CASE["messages"], tools=TOOLS)
        message = answer["choices"][0]["message"]
        arguments = message["tool_calls"][0]["function"]["arguments"]
        self.assertEqual(json.loads(arguments), {"text": between(1)})
        self.assertEqual(self.streamed(daemon), ("Hm.", ".", "look_up", arguments, "tool_calls"))
        self.assertEqual(answer["usage"]["completion_tokens_details"], {"reasoning_tokens": 1})  # the reasoning is one token's text here

    def test_keys_and_values_in_tags_are_arguments(self):
        first = "\n<think>Hm.</think>\n<tool_call>look_up\n<arg_key>text</arg_key>\n"
        last = "</arg_value>\n</tool_call>\n"
        model = self.model([(0, first, False), (1, "<arg_value>", True), (LATE, last, False)], "<tool_call> <arg_key> </think>")
        daemon = self.start("alone", cluster=False, extra=model).wait_ready()
        self.assertRegex(daemon.log_text(), r"tool_calls=glm45.*reasoning=think")
        message = chat(daemon, CASE["messages"], tools=TOOLS)["choices"][0]["message"]
        arguments = message["tool_calls"][0]["function"]["arguments"]
        self.assertEqual(json.loads(arguments), {"text": between(2)})
        self.assertEqual(self.streamed(daemon), ("Hm.", ".", "look_up", arguments, "tool_calls"))

    def test_a_list_in_python_is_calls(self):
        model = self.model([(0, "[look_up(text='", False), (LATE, "')]", False)])
        daemon = self.start("alone", cluster=False, extra=model + ["--tool-call-parser", "llama4_pythonic"]).wait_ready()
        self.assertRegex(daemon.log_text(), r"tool_calls=pythonic")
        answer = chat(daemon, CASE["messages"], tools=TOOLS)
        message = answer["choices"][0]["message"]
        function = message["tool_calls"][0]["function"]
        self.assertEqual((function["name"], json.loads(function["arguments"]), message["content"]), ("look_up", {"text": between(1)}, "."))
        self.assertEqual(self.streamed(daemon)[2:4], ("look_up", function["arguments"]))
        self.assertNotIn("completion_tokens_details", answer["usage"])

    def test_channels_are_reasoning_calls_and_content(self):
        first = "analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.look_up <|constrain|>json<|message|>{\"text\": \""
        last = '"}<|end|><|start|>assistant<|channel|>final<|message|>'
        model = self.model([(0, "<|channel|>", True), (1, first, False), (LATE, last, False)], "<|channel|> <|start|>assistant")
        self.assertIn("harmony", self.refused_start(*model, "--reasoning-parser", "none"))
        daemon = self.start("alone", cluster=False, extra=model).wait_ready()
        self.assertRegex(daemon.log_text(), r"tool_calls=harmony.*reasoning=harmony")
        answer = chat(daemon, CASE["messages"], tools=TOOLS)
        message = answer["choices"][0]["message"]
        function = message["tool_calls"][0]["function"]
        self.assertEqual((message["reasoning"], message["content"], function["name"]), ("Hm.", ".", "look_up"))
        self.assertEqual(json.loads(function["arguments"]), {"text": between(2)})
        self.assertEqual(self.streamed(daemon), ("Hm.", ".", "look_up", function["arguments"], "tool_calls"))
        self.assertEqual(answer["usage"]["completion_tokens_details"], {"reasoning_tokens": 2})  # a marker, and a token with all the rest
        plain = chat(daemon, CASE["messages"])["choices"][0]["message"]
        self.assertEqual(plain["content"], function["arguments"] + "\n.")

    @unittest.skipUnless(importlib.util.find_spec("openai"), "needs the openai package")
    def test_the_official_client(self):
        import openai
        daemon = self.start("alone", cluster=False, extra=self.hermes()).wait_ready()
        client = openai.OpenAI(base_url=daemon.url + "/v1", api_key="unused")
        ask = {"model": client.models.list().data[0].id, "messages": CASE["messages"], "temperature": 0, "tools": TOOLS}
        choice = client.chat.completions.create(**ask).choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assertEqual(choice.message.reasoning_content, "Hm.")
        call = choice.message.tool_calls[0]
        self.assertEqual((call.type, call.function.name), ("function", "look_up"))
        self.assertEqual(json.loads(call.function.arguments), {"text": between(1)})
        with client.chat.completions.stream(**ask) as stream:  # puts the pieces together itself
            kinds = {event.type for event in stream}
            final = stream.get_final_completion().choices[0]
        self.assertIn("tool_calls.function.arguments.delta", kinds)
        self.assertIn("tool_calls.function.arguments.done", kinds)
        self.assertEqual(final.finish_reason, "tool_calls")
        self.assertEqual(final.message.tool_calls[0].function.arguments, call.function.arguments)
        pieces = list(client.chat.completions.create(**ask, stream=True))
        self.assertEqual("".join(getattr(p.choices[0].delta, "reasoning_content", None) or "" for p in pieces), "Hm.")


if __name__ == "__main__":
    unittest.main()
