/* Let a program see an older x86-64 CPU, so that what differs between CPUs can be tested on one.
 *
 *     cc -O2 -shared -fPIC -o build/older_cpu.so tools/older_cpu.c
 *     LD_PRELOAD=$PWD/build/older_cpu.so OLDER_CPU=avx2 python -m pytest -p no:faulthandler
 *
 * OLDER_CPU=avx2 hides AVX-512, VNNI and AMX; OLDER_CPU=avx512 hides VNNI and AMX alone. Libraries
 * that choose their kernels by CPUID (ONNX Runtime, OpenBLAS, FAISS) then take those of such a CPU,
 * at full speed. Needs Linux and a CPU that can trap CPUID (flag `cpuid_fault` in /proc/cpuinfo).
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define BIT(n) (1u << (n))

static int keep_avx512;
static struct sigaction before;

static void hide(unsigned leaf, unsigned sub, unsigned *a, unsigned *b, unsigned *c, unsigned *d) {
    if (leaf == 7 && sub == 0) {
        *c &= ~BIT(11);                                      /* AVX512_VNNI */
        *d &= ~(BIT(22) | BIT(23) | BIT(24) | BIT(25));      /* AMX, AVX512_FP16 */
        if (!keep_avx512) {
            *b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31));
            *c &= ~(BIT(1) | BIT(6) | BIT(12) | BIT(14));
            *d &= ~BIT(8);
        }
    }
    if (leaf == 7 && sub == 1) {
        *a &= ~(BIT(4) | BIT(5) | BIT(23));                  /* AVX_VNNI, AVX512_BF16, AVX_IFMA */
        *d = 0;                                              /* AVX_VNNI_INT8 and others */
    }
}

static void emulate(int signal, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)r[REG_RIP];
    (void)signal;
    if (info->si_code != SI_KERNEL || code[0] != 0x0F || code[1] != 0xA2) {
        sigaction(SIGSEGV, &before, NULL); /* a real fault, which now comes again */
        return;
    }
    unsigned leaf = r[REG_RAX], sub = r[REG_RCX], a, b, c, d;
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __cpuid_count(leaf, sub, a, b, c, d);
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    hide(leaf, sub, &a, &b, &c, &d);
    r[REG_RAX] = a, r[REG_RBX] = b, r[REG_RCX] = c, r[REG_RDX] = d;
    r[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
    const char *as = getenv("OLDER_CPU");
    if (!as) return;
    keep_avx512 = !strcmp(as, "avx512");
    struct sigaction action = {.sa_sigaction = emulate,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &before);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0)) perror("OLDER_CPU: this CPU cannot trap CPUID");
}
