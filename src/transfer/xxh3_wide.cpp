// Compiled with -mavx2 (see CMakeLists.txt).
#include "xxh3_wide.hpp"

#if BATON_XXH3_WIDE
#define XXH_INLINE_ALL
#include <xxhash.h>

void baton_xxh3_128_avx2(const void* bytes, size_t size, uint64_t* high, uint64_t* low) {
  const XXH128_hash_t hash = XXH3_128bits(bytes, size);
  *high = hash.high64;
  *low = hash.low64;
}
#endif
