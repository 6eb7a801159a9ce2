// Catch2 2.x and 3.x behind one include.
#pragma once

#ifdef BATON_CATCH3
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
