"""--draft-tokens on real daemons: the same answers to the last bit, in fewer steps."""
import concurrent.futures
import unittest

from daemons import DaemonTest, chat, content, demo_cases, stream

CASES = [case["messages"] for case in demo_cases()[:8]]
DRAFTS = ("--draft-tokens", "6")
# Greedy and sampled; behind their end answers go round in circles.
ASKED = [dict(), dict(temperature=0.9, seed=5), dict(temperature=1.2, top_p=0.9, seed=6, min_tokens=30), dict(logit_bias={"10": 2.0})]


def answers(daemon, clients=4):
    def ask(number):
        answer = chat(daemon, CASES[number % len(CASES)], max_tokens=90, logprobs=True, top_logprobs=2,
                      ignore_eos=number % 3 > 0, **ASKED[number % len(ASKED)])
        return content(answer), answer["choices"][0]["logprobs"], answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, range(3 * len(CASES))))


class Drafts(DaemonTest):
    def test_same_answers_in_fewer_steps(self):
        plain = self.start("plain", cluster=False).wait_ready()
        expected = answers(plain)
        before = plain.wait_at_rest()
        self.assertEqual(before["baton_engine_drafted_tokens_total"], 0)

        drafting = self.start("drafting", cluster=False, extra=DRAFTS).wait_ready()
        # How many guesses a step has room for is the engine's to measure: one, where there is one client.
        self.assertEqual(answers(drafting, clients=1), expected)
        after = drafting.wait_at_rest()
        self.assertEqual(after["baton_engine_decode_tokens_total"], before["baton_engine_decode_tokens_total"])
        self.assertGreater(after["baton_engine_accepted_tokens_total"], after["baton_engine_drafted_tokens_total"] / 8)
        self.assertGreater(after["baton_engine_accepted_tokens_total"], 50)
        self.assertEqual(answers(drafting), expected)

        prefill, decode = self.start_pair(DRAFTS, DRAFTS)
        self.assertEqual(answers(prefill, clients=1), expected)
        self.assertGreater(decode.wait_at_rest()["baton_engine_accepted_tokens_total"], 50)

    def test_streams_have_every_token_once(self):
        plain = self.start("plain", cluster=False).wait_ready()
        drafting = self.start("drafting", cluster=False, extra=DRAFTS).wait_ready()
        told = []
        for daemon in (plain, drafting):
            text, error, done = stream(daemon, CASES[0], max_tokens=120, ignore_eos=True)
            self.assertIsNone(error)
            self.assertTrue(done)
            told.append(text)
        self.assertEqual(told[0], told[1])
        self.assertGreater(len(told[0]), 120)


if __name__ == "__main__":
    unittest.main()
