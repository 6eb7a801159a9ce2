# Compiler options that every target shares, and the two functions with which a folder declares itself and its tests.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

find_package(Threads REQUIRED)

add_library(baton_options INTERFACE)
target_include_directories(baton_options INTERFACE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
target_compile_options(baton_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wnon-virtual-dtor;-Woverloaded-virtual>")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(baton_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>")  # GCC 12 misfires on "literal" + std::string (GCC PR 105329)
endif()
if(BATON_WERROR)
  target_compile_options(baton_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Werror>")
endif()
# Sameness (docs/decisions/0001-sameness.md): the compiler may not contract a*b+c behind our back; kernels that want FMA say so.
target_compile_options(baton_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>")
target_link_libraries(baton_options INTERFACE Threads::Threads)

if(BATON_SANITIZE)
  # Instrumentation defeats the flow analysis behind this warning; the release build still has it as an error.
  target_compile_options(baton_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>")
endif()
if(BATON_SANITIZE STREQUAL "address")
  target_compile_options(baton_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-fno-sanitize-recover=all;-fno-omit-frame-pointer;-g>")
  target_link_options(baton_options INTERFACE -fsanitize=address,undefined)
elseif(BATON_SANITIZE STREQUAL "thread")
  # GCC warns that TSan does not model atomic_thread_fence; Asio and libstdc++ use it.
  target_compile_options(baton_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=thread;-fno-omit-frame-pointer;-g;-Wno-error=tsan>")
  target_link_options(baton_options INTERFACE -fsanitize=thread)
elseif(BATON_SANITIZE)
  message(FATAL_ERROR "BATON_SANITIZE must be empty, address or thread, not '${BATON_SANITIZE}'")
endif()

if(BATON_FUZZ)
  # Without `function`: clang 14 cannot assemble its mark in front of a coroutine.
  target_compile_options(baton_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link,address,undefined;-fno-sanitize=function;-fno-sanitize-recover=all;-g>")
  target_link_options(baton_options INTERFACE -fsanitize=address,undefined)
endif()

# Seconds a test may take before it counts as hung. Sanitizers slow everything down many times.
set(BATON_TEST_TIMEOUT 300)
if(BATON_SANITIZE)
  set(BATON_TEST_TIMEOUT 1500)
endif()

# baton_add_folder(<folder> SOURCES a.cpp ... [DEPENDS base ...] [LIBRARIES pkg::target ...])
# Declares the library baton_<folder> of one folder of src/. DEPENDS names other folders, LIBRARIES names packages.
function(baton_add_folder folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LIBRARIES" ${ARGN})
  add_library(baton_${folder} STATIC ${ARG_SOURCES})
  target_link_libraries(baton_${folder} PUBLIC baton_options ${ARG_LIBRARIES})
  foreach(dependency IN LISTS ARG_DEPENDS)
    target_link_libraries(baton_${folder} PUBLIC baton_${dependency})
  endforeach()
endfunction()

# baton_add_test(<name> SOURCES a_test.cpp ... DEPENDS folder ... [LIBRARIES ...] [LABELS ...] [ARGUMENTS ...])
# Declares one Catch2 test binary, <name>_test, run by ctest as <name>.
function(baton_add_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LIBRARIES;LABELS;ARGUMENTS" ${ARGN})
  add_executable(${name}_test ${ARG_SOURCES})
  target_link_libraries(${name}_test PRIVATE baton_test_main baton_options ${ARG_LIBRARIES})
  foreach(dependency IN LISTS ARG_DEPENDS)
    target_link_libraries(${name}_test PRIVATE baton_${dependency})
  endforeach()
  target_compile_options(${name}_test PRIVATE -O1)  # Catch2 expands to a lot of code; what is tested keeps its own options
  add_test(NAME ${name} COMMAND ${name}_test ${ARG_ARGUMENTS})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${BATON_TEST_TIMEOUT} SKIP_RETURN_CODE 77
    ENVIRONMENT "BATON_SOURCE_DIR=${CMAKE_SOURCE_DIR};BATON_BINARY=$<TARGET_FILE_DIR:${name}_test>/../baton")
  if(ARG_LABELS)
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
  endif()
endfunction()
