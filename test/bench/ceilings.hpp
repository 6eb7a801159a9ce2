// This machine's ceilings, measured beside what is compared with them: how fast all threads together read
// DRAM, and their fp32 FMA rate. Figures are the best and the median of several rounds.
#pragma once

#include <functional>

#include "tensor/thread_pool.hpp"

namespace baton::bench {

struct Figure {
  double best = 0;
  double median = 0;
};

// On a machine that others use too: count this process's processor time, divided by its threads, instead of
// the wall clock's.
void use_cpu_clock(int threads);
double seconds();

// Work per second over `rounds` calls; one call before them is not counted.
Figure measure(int rounds, double work, const std::function<void()>& call);

Figure read_bandwidth(ThreadPool& pool);  // bytes/s out of 512 MiB; zero where there is no code for this CPU
Figure fma_rate(ThreadPool& pool, bool avx512);  // FLOP/s, an FMA counts as two; likewise

}  // namespace baton::bench
