/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop that is timed in a virtual machine, and that machine. It runs in 64-bit mode, as a
 * guest's kernel does: a KVM may treat real mode in another way (older processors cannot run it).
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "kvm_impl.h"

/* The guest's physical memory. Its first 2 MiB are mapped to themselves by one entry. */
enum {
	PML4 = 0x1000,
	PDPT = 0x2000,
	DIRECTORY = 0x3000,
	CODE = 0x4000,
	MEMORY_BYTES = 0x5000,
};

/* Bits of x86, by the names of Intel's manual, volume 3. */
enum {
	ENTRY_PRESENT_WRITABLE = 0x3,
	ENTRY_LARGE = 0x80,
	CR0_PE = 0x1,
	CR0_ET = 0x10,
	CR4_PAE = 0x20,
	EFER_LME = 0x100,
	EFER_LMA = 0x400,
	RFLAGS_ALWAYS = 0x2,
	SEGMENT_CODE = 11, /* execute, read, accessed */
	SEGMENT_DATA = 3,  /* read, write, accessed */
};
#define CR0_PG 0x80000000U

/*
 * One run is a loop to its end, and each has twice the iterations of the one before: so a KVM of
 * any speed gets runs of which it can be told, and a processor has a long one (about 1 ms) in
 * which the way in and out of the guest does not count.
 */
enum {
	PORT = 0x10,
	FIRST_ITERATIONS = 1000,
	LAST_ITERATIONS = 1024000,
	INSTRUCTIONS_PER_ITERATION = 2,
	/* A run takes as long as all before it, so no more than twice this is spent. */
	BUDGET_MS = 150,
};

static const unsigned char loop_code[] = {
        0xff, 0xc9, /* again: dec ecx */
        0x75, 0xfc, /* jnz again */
        0xe6, PORT, /* out PORT, al: leaves the guest */
};

static void fail(struct vm_kvm_report *report, const char *what, int number)
{
	report->failed = what;
	report->number = number;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void put_entry(unsigned char *memory, unsigned table, uint64_t entry)
{
	memcpy(memory + table, &entry, sizeof(entry)); /* its first */
}

static int add_memory(int vm, struct vm_kvm_report *report)
{
	unsigned char *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
	                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY_BYTES,
	                                             .userspace_addr = (uintptr_t)memory};

	if (memory == MAP_FAILED) {
		fail(report, "mmap", errno);
		return -1;
	}
	put_entry(memory, PML4, PDPT | ENTRY_PRESENT_WRITABLE);
	put_entry(memory, PDPT, DIRECTORY | ENTRY_PRESENT_WRITABLE);
	put_entry(memory, DIRECTORY, ENTRY_LARGE | ENTRY_PRESENT_WRITABLE);
	memcpy(memory + CODE, loop_code, sizeof(loop_code));
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
		fail(report, "KVM_SET_USER_MEMORY_REGION", errno);
		return -1;
	}
	return 0;
}

static int enter_64_bit_mode(int cpu, struct vm_kvm_report *report)
{
	const struct kvm_segment data = {.limit = ~0U,
	                                 .selector = 16,
	                                 .type = SEGMENT_DATA,
	                                 .present = 1,
	                                 .db = 1,
	                                 .s = 1,
	                                 .g = 1};
	struct kvm_sregs sregs;

	if (ioctl(cpu, KVM_GET_SREGS, &sregs) < 0) {
		fail(report, "KVM_GET_SREGS", errno);
		return -1;
	}
	sregs.cr0 = CR0_PG | CR0_ET | CR0_PE;
	sregs.cr3 = PML4;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LMA | EFER_LME;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cs = data;
	sregs.cs.selector = 8;
	sregs.cs.type = SEGMENT_CODE;
	sregs.cs.db = 0;
	sregs.cs.l = 1;
	if (ioctl(cpu, KVM_SET_SREGS, &sregs) < 0) {
		fail(report, "KVM_SET_SREGS", errno);
		return -1;
	}
	return 0;
}

/* The virtual CPU and what it shares with us; -1 when something failed. */
static int make_machine(int device_fd, struct kvm_run **ret_run, struct vm_kvm_report *report)
{
	int size, vm, cpu, version = ioctl(device_fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION) {
		fail(report, "KVM_GET_API_VERSION", version < 0 ? errno : 0);
		return -1;
	}
	size = ioctl(device_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm = ioctl(device_fd, KVM_CREATE_VM, 0);
	if (size < (int)sizeof(**ret_run) || vm < 0) {
		fail(report, vm < 0 ? "KVM_CREATE_VM" : "KVM_GET_VCPU_MMAP_SIZE", errno);
		return -1;
	}
	if (add_memory(vm, report) < 0)
		return -1;
	cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (cpu < 0) {
		fail(report, "KVM_CREATE_VCPU", errno);
		return -1;
	}
	*ret_run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	if (*ret_run == MAP_FAILED) {
		fail(report, "mmap of the virtual CPU", errno);
		return -1;
	}
	return enter_64_bit_mode(cpu, report) < 0 ? -1 : cpu;
}

/* Returns how long it took, at least 1 ns; -1 when something failed. */
static int64_t run_once(int cpu, const struct kvm_run *run, unsigned iterations,
                        struct vm_kvm_report *report)
{
	struct kvm_regs regs = {.rip = CODE, .rcx = iterations, .rflags = RFLAGS_ALWAYS};
	int64_t begin, took;
	int rc;

	if (ioctl(cpu, KVM_SET_REGS, &regs) < 0) {
		fail(report, "KVM_SET_REGS", errno);
		return -1;
	}
	begin = now_ns();
	do {
		rc = ioctl(cpu, KVM_RUN, 0);
	} while (rc < 0 && errno == EINTR);
	took = now_ns() - begin;
	if (rc < 0 || run->exit_reason != KVM_EXIT_IO || run->io.port != PORT) {
		fail(report, "KVM_RUN", rc < 0 ? errno : 0);
		return -1;
	}
	return took > 0 ? took : 1;
}

void vm_kvm_run_loop(int device_fd, struct vm_kvm_report *ret)
{
	struct kvm_run *run = NULL;
	int64_t total_ns = 0;
	int cpu = make_machine(device_fd, &run, ret);

	if (cpu < 0)
		return;
	for (unsigned n = FIRST_ITERATIONS; n <= LAST_ITERATIONS; n *= 2) {
		int64_t took_ns = run_once(cpu, run, n, ret);
		uint64_t rate;

		if (took_ns <= 0)
			return;
		/*
		 * The best one counts: of another, others on a busy host may have had the most.
		 * Nothing makes one faster than it is.
		 */
		rate = (uint64_t)n * INSTRUCTIONS_PER_ITERATION * 1000000000 / (uint64_t)took_ns;
		if (rate > ret->instructions_per_second)
			ret->instructions_per_second = rate;
		total_ns += took_ns;
		if (total_ns >= (int64_t)BUDGET_MS * 1000000)
			return;
	}
}
