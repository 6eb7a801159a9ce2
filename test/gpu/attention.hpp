// What test/gpu/attention_*.cu offer to a main.
#pragma once

bool attention_tests();  // false, and says what, if something is wrong

// Times against a device that copies `copy_gbps` (bytes read plus bytes written) and multiplies
// `matrix_tflops`; zero for the first measures it.
void attention_bench(double copy_gbps, double matrix_tflops);
