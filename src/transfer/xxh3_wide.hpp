// XXH3-128 compiled for AVX2: the same values as base/hash at about twice its speed. Call only where the CPU
// has AVX2. Plain types only, so that no inline function of another header is compiled with AVX2 flags.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#define BATON_XXH3_WIDE 1
extern "C" void baton_xxh3_128_avx2(const void* bytes, size_t size, uint64_t* high, uint64_t* low);
#else
#define BATON_XXH3_WIDE 0
#endif
