// Built into micropython-asan only: defaults that need no ASAN_OPTIONS from the user.
// MicroPython's garbage collector scans the real stack, so locals may not move to a fake one;
// the heap is one block that lives until exit, so leaks of it say nothing.

const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_stack_use_after_return=0:detect_leaks=0";
}
