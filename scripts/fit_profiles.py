#!/usr/bin/env python3
"""Fits the efficiency coefficients of vllm, trtllm and sglang to measured deployments (development only; needs numpy).

    scripts/fit_profiles.py ROWS.csv                 in-sample, held-out rows, held-out groups, leave-one-model-out: prints the errors
    scripts/fit_profiles.py ROWS.csv --write         and writes configs/systems/profiles/*.json, fitted to all rows

`build/baton estimate --rows` is the only model: this script changes a file of coefficients and asks it again. Each (backend, system, precision)
has eight coefficients, none of them keyed by a model; they are log-normal around their backend's, these around a common set, so that what few rows
say is not believed too much. Rows of more than 8 GPUs in one tensor-parallel group are left out of the fit, not of the report: they describe
whole deployments.
"""
import argparse
import csv
import json
import pathlib
import subprocess
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = ["memory", "matmul", "attention", "layer", "slots", "mixing", "base", "queue"]
# Where the common set starts and how far, in e-folds, it may wander; slots is linear, in requests.
START = {"memory": 0.8, "matmul": 0.6, "attention": 0.5, "layer": 20e-6, "slots": 0.0, "mixing": 0.9, "base": 30e-3, "queue": 0.15}
COMMON_WIDTH = np.array([0.15, 0.3, 0.4, 0.5, 1.0, 0.4, 1.0, 1.0])
BACKEND_WIDTH = np.array([0.1, 0.3, 0.3, 0.5, 0.5, 0.5, 0.7, 0.7])
PROFILE_WIDTH = np.array([0.15, 0.5, 0.5, 0.6, 1.0, 0.5, 1.0, 1.0])
SLOTS_UNIT = 0.3  # one width of slots, in requests
# What holds wherever these engines run; include/baton/schedule/system_spec.hpp says what each is.
TRAITS = {"step": 0, "sequence": 20e-6, "expert_layer": 6, "grouped": 0.5, "exchange": 5e-6, "exchange_gpu": 1.2e-6, "exchange_rate": 0.7,
          "link": 0.85, "crowd": 0.8, "expert_base": 3, "first_layers": 0}
GROUPED = {"vllm": 0.25, "sglang": 0.5, "trtllm": 0.5}
QUANTIZED_KV = {"vllm": "bf16", "sglang": "bf16", "trtllm": "fp8"}
VERSIONS = {"vllm": "0.17.0", "sglang": "0.5.8.post1", "trtllm": "1.0.0rc3"}  # assumed where a row names none
SEED = 20251126
# No published row has this model, system and precision, so the guide's own case stands in: (ISL, OSL, batch, tp, TTFT, TPOT) of its aggregated rows; a
# decode engine alone, written as requests that generate all of their context; one prompt alone (its TTFT in the disaggregated row less the queue).
GUIDE = [(4000, 500, 64, 1, 395.88, 16.284), (4000, 500, 96, 2, 331.10, 15.370), (4000, 500, 144, 4, 249.55, 15.300), (1, 8498, 104, 1, None, 15.62),
         (4000, 500, 1, 1, 62.0, None)]
TPOT_SCALE, TTFT_SCALE = 0.1, 0.25  # errors far beyond these count linearly, not squared


class Rows:
    """Measured rows, and what `baton estimate` says of them under given coefficients."""

    def __init__(self, rows: list[dict], baton: str):
        self.rows = rows
        self.baton = baton
        self.folder = pathlib.Path(tempfile.mkdtemp())
        measured = ("silicon_ttft_ms", "silicon_tpot_ms")
        self.tpot = np.array([float(r["silicon_tpot_ms"] or "nan") for r in rows])
        self.ttft = np.array([float(r["silicon_ttft_ms"] or "nan") for r in rows])
        self.columns = [c for c in rows[0] if c not in measured]
        self.backends = np.array([r["backend"] for r in rows])
        self.by_backend = {b: np.flatnonzero(self.backends == b) for b in sorted(set(self.backends))}
        for backend, index in self.by_backend.items():
            with open(self.folder / f"{backend}.csv", "w", newline="", encoding="utf-8") as out:
                writer = csv.DictWriter(out, self.columns, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows[i] for i in index)
        first = self.ask({b: profile_file(b, default_coefficients(), {}) for b in self.by_backend}, whole=True)
        self.precision = np.array([f["precision"] for f in first])
        self.profile = np.array([f"{r['backend']}|{r['system']}/{p}" for r, p in zip(rows, self.precision)])
        self.group = np.array(["|".join((r["backend"], r["backend_version"], r["model_path"], r["system"])) for r in rows])
        self.model = np.array([r["model_path"] for r in rows])
        self.moe = np.array([any(o["name"] == "routed experts" and o["decode_ms"] > 0 for o in f["operations"]) for f in first])
        self.fitted = np.array([float(r["tp_size"] or 1) <= 8 for r in rows])

    def ask(self, files: dict, whole: bool = False):
        answers = [None] * len(self.rows)
        running = []
        for backend, index in self.by_backend.items():
            path = self.folder / f"{backend}.json"
            path.write_text(json.dumps(files[backend]), encoding="utf-8")
            command = [self.baton, "estimate", "--rows", str(self.folder / f"{backend}.csv"), "--profile", str(path), "--json"]
            running.append((index, subprocess.Popen(command, stdout=subprocess.PIPE)))
        for index, process in running:
            out = process.communicate()[0]
            if process.returncode != 0:
                raise SystemExit("baton estimate failed")
            for i, answer in zip(index, json.loads(out)):
                answers[i] = answer
        if whole:
            return answers
        return np.array([a["ttft_ms"] for a in answers]), np.array([a["tpot_ms"] for a in answers])


def default_coefficients() -> np.ndarray:
    return np.array([np.log(START[n]) if n != "slots" else START[n] / SLOTS_UNIT for n in NAMES])


def profile_file(backend: str, default: np.ndarray, profiles: dict, provenance: str = "being fitted") -> dict:
    return {"backend": backend, "version": VERSIONS[backend], "provenance": provenance,
            "traits": {**TRAITS, "grouped": GROUPED[backend], "quantized_kv": QUANTIZED_KV[backend]}, "default": as_json(default),
            "profiles": {k: as_json(v) for k, v in sorted(profiles.items())}}


def as_json(theta: np.ndarray) -> dict:
    return {n: float(np.exp(t)) if n != "slots" else max(0.0, float(t) * SLOTS_UNIT) for n, t in zip(NAMES, theta)}


class Fit:
    """Coefficients of every profile = common + backend's + profile's own, each part held near zero by its width."""

    def __init__(self, data: Rows, train: np.ndarray):
        self.data = data
        self.train = train & data.fitted
        self.backends = sorted(data.by_backend)
        self.profiles = sorted(set(data.profile[self.train]))
        n = len(NAMES)
        self.start = default_coefficients()
        backend_of = {b: i for i, b in enumerate(self.backends)}
        # Rows x parts: which backend's and which profile's deviations a row has; unknown profiles have none.
        self.row_backend = np.array([backend_of[b] for b in data.backends])
        self.row_profile = np.array([self.profiles.index(p) if p in self.profiles else -1 for p in data.profile])
        _, inverse, count = np.unique(data.group, return_inverse=True, return_counts=True)
        weight = 1 / np.sqrt(count[inverse])
        self.weight = weight / weight[self.train].mean()
        self.width = np.concatenate([COMMON_WIDTH, np.tile(BACKEND_WIDTH, len(self.backends)), np.tile(PROFILE_WIDTH, len(self.profiles))])
        self.size = n * (1 + len(self.backends) + len(self.profiles))

    def split(self, v: np.ndarray):
        n, b = len(NAMES), len(self.backends)
        return v[:n], v[n:n + n * b].reshape(b, n), v[n + n * b:].reshape(-1, n)

    def files(self, v: np.ndarray, nudge: int | None = None, step: float = 0.0) -> dict:
        common, backend, profile = self.split(v)
        shift = np.zeros(len(NAMES))
        if nudge is not None:
            shift[nudge] = step
        out = {}
        for i, b in enumerate(self.backends):
            base = self.start + common + backend[i] + shift
            own = {p.split("|")[1]: base + profile[j] for j, p in enumerate(self.profiles) if p.startswith(b + "|")}
            out[b] = profile_file(b, base, own)
        return out

    def errors(self, answer):
        ttft, tpot = answer
        return np.nan_to_num(np.log(ttft / self.data.ttft)), np.nan_to_num(np.log(tpot / self.data.tpot))  # unknown: no error

    @staticmethod
    def robust(error, scale):
        """Residual and its derivative: squared error near zero, linear beyond `scale`."""
        root = np.sqrt(scale * scale + error * error)
        value = np.sign(error) * np.sqrt(2 * scale * (root - scale)) / scale
        slope = np.where(np.abs(error) < 1e-9, 1 / scale, error / root / np.maximum(np.abs(value) * scale, 1e-12))
        return value, np.abs(slope)

    def run(self, rounds: int = 12):
        v = np.zeros(self.size)
        n, b = len(NAMES), len(self.backends)
        damping, best = 1e-2, None
        rows = np.flatnonzero(self.train)

        def residuals(v):
            e_ttft, e_tpot = self.errors(self.data.ask(self.files(v)))
            r1, s1 = self.robust(e_tpot[rows], TPOT_SCALE)
            r2, s2 = self.robust(e_ttft[rows], TTFT_SCALE)
            w = self.weight[rows]
            held, slope = self.robust(v / self.width, 1.0)  # a profile may be an outlier as a whole
            total = np.concatenate([w * r1, w * r2, held])
            return total, (e_tpot, e_ttft, s1, s2, w, slope / self.width)

        value, state = residuals(v)
        for _ in range(rounds):
            e_tpot, e_ttft, s1, s2, w, held = state
            jacobian = np.zeros((2 * len(rows) + self.size, self.size))
            jacobian[2 * len(rows):] = np.diag(held)
            for k in range(n):  # one coefficient at a time, of all profiles at once: rows depend on their own only
                h = 0.02 if NAMES[k] != "slots" else 0.05
                t2, t1 = self.errors(self.data.ask(self.files(v, k, h)))
                d = np.concatenate([w * s1 * (t1 - e_tpot)[rows] / h, w * s2 * (t2 - e_ttft)[rows] / h])
                jacobian[:2 * len(rows), k] = d
                for part, index in ((n, self.row_backend), (n + n * b, self.row_profile)):
                    for g in range(b if part == n else len(self.profiles)):
                        mask = np.tile(index[rows] == g, 2)
                        jacobian[:2 * len(rows), part + g * n + k] = d * mask
            gradient, normal = jacobian.T @ value, jacobian.T @ jacobian
            for _ in range(5):
                step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
                step = np.clip(step, -0.7, 0.7)
                new_value, new_state = residuals(v + step)
                if new_value @ new_value < value @ value:
                    gain = 1 - (new_value @ new_value) / (value @ value)
                    v, value, state, damping = v + step, new_value, new_state, damping / 4
                    break
                damping *= 6
            else:
                break
            if gain < 1e-3:
                break
        self.v = v
        return self

    def predict(self):
        return self.data.ask(self.files(self.v))


def medians(data: Rows, answer, mask) -> dict:
    ttft, tpot = answer
    out = {}
    for kind, rows in (("dense", mask & ~data.moe), ("moe", mask & data.moe)):
        if rows.any():
            out[kind] = (int(rows.sum()), float(np.median(np.abs(tpot[rows] / data.tpot[rows] - 1)) * 100),
                         float(np.median(np.abs(ttft[rows] / data.ttft[rows] - 1)) * 100))
    return out


def show(title: str, result: dict) -> None:
    text = ", ".join(f"{kind}: TPOT {e1:.1f} %, TTFT {e2:.1f} % ({n} rows)" for kind, (n, e1, e2) in result.items())
    print(f"{title:<44} {text}", flush=True)


def held_out(data: Rows, key: np.ndarray, folds: list) -> tuple:
    ttft, tpot = np.full(len(key), np.nan), np.full(len(key), np.nan)
    for fold in folds:
        test = np.isin(key, fold)
        a, b = Fit(data, ~test).run().predict()
        ttft[test], tpot[test] = a[test], b[test]
    return ttft, tpot


def detail(data: Rows, answer) -> None:
    ttft, tpot = answer
    for key in sorted(set(zip(data.backends, data.model, data.profile))):
        m = (data.backends == key[0]) & (data.model == key[1]) & (data.profile == key[2])
        e1, e2 = tpot[m] / data.tpot[m], ttft[m] / data.ttft[m]
        print(f"  {key[1]:<40} {key[2]:<24} n {m.sum():>4}  TPOT {np.median(np.abs(e1 - 1)) * 100:6.1f} % (x{np.median(e1):.2f})"
              f"  TTFT {np.median(np.abs(e2 - 1)) * 100:6.1f} % (x{np.median(e2):.2f})")


def guide_rows(columns: list[str]) -> list[dict]:
    rows = []
    for isl, osl, batch, tp, ttft, tpot in GUIDE:
        row = dict.fromkeys(columns, "")
        row.update(backend="vllm", backend_version="0.12.0", model_path="nvidia/Llama-3.1-Nemotron-Nano-4B-v1.1", system="h200_sxm", precision="bf16", mode="agg",
                   isl=str(isl), osl=str(osl), batch_size=str(batch), tp_size=str(tp), silicon_ttft_ms=str(ttft or ""), silicon_tpot_ms=str(tpot or ""))
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows")
    parser.add_argument("--baton", default=str(ROOT / "build/baton"))
    parser.add_argument("--write", action="store_true", help="write configs/systems/profiles/*.json")
    parser.add_argument("--no-cv", action="store_true", help="in-sample only")
    parser.add_argument("--detail", action="store_true", help="errors of each (model, profile)")
    options = parser.parse_args()

    with open(options.rows, encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["mode"] == "agg"]
    measured = len(rows)
    rows += guide_rows(list(rows[0]))  # fitted, counted in no error
    data = Rows(rows, options.baton)
    own = np.arange(len(rows)) < measured
    print(f"{measured} aggregated rows, {len(set(data.group[own]))} groups, {len(set(data.profile[own]))} profiles, seed {SEED}")
    everything = np.ones(len(rows), dtype=bool)
    fit = Fit(data, everything).run()
    answer = fit.predict()
    show("all rows, fitted to all", medians(data, answer, own))
    if options.detail:
        detail(data, answer)
    if not options.no_cv:
        dice = np.random.default_rng(SEED)
        half = np.full(len(rows), -1)
        for group in sorted(set(data.group[own])):
            index = dice.permutation(np.flatnonzero(own & (data.group == group)))
            half[index] = np.arange(len(index)) % 2
        show("half of each group's rows held out", medians(data, held_out(data, half, [[0], [1]]), own))
        groups = np.array(sorted(set(data.group[own])))
        np.random.default_rng(SEED).shuffle(groups)
        answer = held_out(data, data.group, np.array_split(groups, 5))
        show("held-out groups, five folds", medians(data, answer, own))
        if options.detail:
            detail(data, answer)
        models = sorted(set(data.model[own]))
        answer = held_out(data, data.model, [[m] for m in models])
        show("leave one model out", medians(data, answer, own))
        if options.detail:
            detail(data, answer)
    if options.write:
        folder = ROOT / "configs/systems/profiles"
        folder.mkdir(exist_ok=True)
        for backend, content in fit.files(fit.v).items():
            content["provenance"] = "fitted to published measurements by scripts/fit_profiles.py"
            for entry in (content["default"], *content["profiles"].values()):
                for key, value in entry.items():
                    entry[key] = float(f"{value:.4g}")
            text = json.dumps(content, indent=2)
            (folder / f"{backend}.json").write_text(text + "\n", encoding="utf-8")
            print(f"wrote {folder / backend}.json")


if __name__ == "__main__":
    main()
