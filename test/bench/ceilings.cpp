#include "bench/ceilings.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "baton/tensor/buffer.hpp"
#if BATON_X86
#include <immintrin.h>
#endif

namespace baton::bench {
namespace {

double cpu_threads = 0;  // 0: the wall clock

#if BATON_X86
__attribute__((target("avx2"))) std::uint64_t read_all(const std::byte* data, std::size_t bytes) {
  __m256i sum[4] = {};
  for (std::size_t i = 0; i + 128 <= bytes; i += 128) {
    for (int j = 0; j < 4; ++j) {
      sum[j] = _mm256_xor_si256(sum[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(data + i) + j));
    }
  }
  const __m256i all = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
  return static_cast<std::uint64_t>(_mm256_extract_epi64(all, 0));
}

// Twelve chains that start apart, or the compiler would compute one, and from a value it cannot know, or it
// would compute them once for all calls.
volatile float seed = 1;

__attribute__((target("avx2,fma"))) float spin_avx2(std::int64_t rounds) {
  const __m256 a = _mm256_set1_ps(0.5F);
  __m256 sum[12];
  for (int j = 0; j < 12; ++j) sum[j] = _mm256_set1_ps(seed);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sum[j] = _mm256_fmadd_ps(sum[j], a, a);
  }
  for (int j = 1; j < 12; ++j) sum[0] = _mm256_add_ps(sum[0], sum[j]);
  return _mm256_cvtss_f32(sum[0]);
}

__attribute__((target("avx512f"))) float spin_avx512(std::int64_t rounds) {
  const __m512 a = _mm512_set1_ps(0.5F);
  __m512 sum[12];
  for (int j = 0; j < 12; ++j) sum[j] = _mm512_set1_ps(seed);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sum[j] = _mm512_fmadd_ps(sum[j], a, a);
  }
  for (int j = 1; j < 12; ++j) sum[0] = _mm512_add_ps(sum[0], sum[j]);
  return _mm512_cvtss_f32(sum[0]);
}
#endif

volatile std::uint64_t keep_integer;
volatile float keep_float;

}  // namespace

void use_cpu_clock(int threads) { cpu_threads = threads; }

double seconds() {
  timespec now{};
  clock_gettime(cpu_threads > 0 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  const double value = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  return cpu_threads > 0 ? value / cpu_threads : value;
}

Figure measure(int rounds, double work, const std::function<void()>& call) {
  call();
  std::vector<double> rates;
  for (int i = 0; i < rounds; ++i) {
    const double start = seconds();
    call();
    rates.push_back(work / (seconds() - start));
  }
  std::sort(rates.begin(), rates.end());
  return {rates.back(), rates[rates.size() / 2]};
}

Figure read_bandwidth(ThreadPool& pool) {
  Figure figure{};
#if BATON_X86
  auto allocated = Buffer::allocate({}, std::size_t{512} << 20, {.huge_pages = true});
  if (!allocated) std::abort();
  const Buffer memory = std::move(*allocated);
  std::memset(memory.data(), 1, memory.size());
  const std::size_t part = memory.size() / 64;
  figure = measure(7, static_cast<double>(memory.size()), [&] {
    pool.run(64, [&](std::int64_t task, int) {
      keep_integer = read_all(memory.data() + static_cast<std::size_t>(task) * part, part);
    });
  });
#else
  (void)pool;
#endif
  return figure;
}

Figure fma_rate(ThreadPool& pool, bool wide) {
  Figure figure{};
#if BATON_X86
  constexpr std::int64_t kRounds = 50'000;
  const double flops = 2.0 * 12 * (wide ? 16 : 8) * kRounds * 16;
  figure = measure(7, flops, [&] {
    pool.run(16, [&](std::int64_t, int) { keep_float = wide ? spin_avx512(kRounds) : spin_avx2(kRounds); });
  });
#else
  (void)pool, (void)wide;
#endif
  return figure;
}

}  // namespace baton::bench
