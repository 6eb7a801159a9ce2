#!/usr/bin/env python3
"""Registers, shared memory and spills of every CUDA kernel, from what ptxas said while it compiled (-Xptxas -v).

    scripts/kernel_resources.py BUILD_LOG [--all] > docs/cuda-resources.md

Without --all: one line for each kernel template, types and numbers aside: the variant with most registers, and every variant that spills.
"""
import re
import subprocess
import sys


def short(name):
    name = re.sub(r"\(anonymous namespace\)::|baton::cuda::|void ", "", name)
    return re.sub(r"\(.*\)$", "", name)


def main():
    text = open(sys.argv[1]).read()
    found = []
    for block in re.findall(r"Compiling entry function '(\w+)' for '(\w+)'(.*?)(?=Compiling entry function|\Z)", text, re.S):
        mangled, arch, rest = block
        registers = re.search(r"Used (\d+) registers", rest)
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", rest)
        shared = re.search(r"(\d+) bytes smem", rest)
        if registers and "gpu" not in mangled[:12]:
            found.append((mangled, arch, int(registers[1]), int(shared[1]) if shared else 0, int(spills[1]) + int(spills[2]) if spills else 0))
    names = subprocess.run(["c++filt"], input="\n".join(f[0] for f in found), capture_output=True, text=True, check=True).stdout.split("\n")
    rows = {}
    for name, (_, arch, registers, shared, spilled) in zip(names, found):
        rows[(short(name), arch)] = (registers, shared, spilled)
    best = {}
    for (name, arch), row in rows.items():
        family = (re.sub(r"__half|__nv_bfloat16|__nv_fp8_e4m3|\bfloat\b|\btrue\b|\bfalse\b|\b\d+\b", "*", name), arch)
        if family not in best or row[0] > rows[best[family]][0]:
            best[family] = (name, arch)
    shown = sorted(rows) if "--all" in sys.argv else sorted(set(best.values()) | {key for key, row in rows.items() if row[2]})
    print("# Resources of the CUDA kernels\n")
    print("As ptxas reports them (`scripts/kernel_resources.py` over the build's log). Of each kernel the variant with most registers, and every variant that spills; dynamic shared memory is not in it.\n")
    print("| kernel | target | registers | static shared memory, bytes | spilled, bytes |\n|---|---|---|---|---|")
    for name, arch in shown:
        registers, shared, spilled = rows[(name, arch)]
        print(f"| `{name}` | {arch} | {registers} | {shared} | {spilled} |")


if __name__ == "__main__":
    main()
