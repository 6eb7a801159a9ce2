// What tests ask the emulated GPU for, beyond CUDA's own functions.
#pragma once

#include <string>

namespace baton::emulator {

// The fault since the last call, with the instruction and the thread that it came from; empty if there was
// none. The device is as new afterwards.
std::string take_fault();

}  // namespace baton::emulator
