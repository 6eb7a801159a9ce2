// Catch2 2.x and 3.x, or the little that stands in for it on a bare GPU machine, behind one include.
#pragma once

#ifdef BATON_BARE_CATCH
#include "support/bare_catch.hpp"
#elif defined(BATON_CATCH3)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
