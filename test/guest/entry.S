/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two entries and the interrupt stubs.
 *
 * guest_entry64: 64-bit mode, rsi = Linux zero page (Firecracker before PVH support).
 * guest_entry32: PVH, 32-bit protected mode without paging, ebx = struct hvm_start_info.
 * Both end in guest_main(address, enum boot_kind) on own stack, GDT and page tables.
 */

#define BOOT_ZERO_PAGE 0
#define BOOT_PVH 1

#define CR0_PE_PG 0x80000001
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

#define LAPIC_EOI 0xfee000b0

/* Xen ELF note 18, XEN_ELFNOTE_PHYS32_ENTRY; loaders read the descriptor of an ELF64 as 8 bytes. */
	.section .note.pvh, "a", @note
	.balign 4
	.long 4
	.long 8
	.long 18
	.asciz "Xen"
	.quad guest_entry32

	.text
	.code32
	.global guest_entry32
guest_entry32:
	cli
	lgdt gdt_pointer
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $page_map, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PE_PG, %eax
	movl %eax, %cr0
	ljmp $8, $pvh_long_mode

	.code64
pvh_long_mode:
	movl %ebx, %edi
	movl $BOOT_PVH, %esi
	jmp enter_c

	.global guest_entry64
guest_entry64:
	cli
	movl $page_map, %eax
	movq %rax, %cr3
	lgdt gdt_pointer
	movl $stack_top, %esp
	pushq $8
	pushq $zero_page_own_gdt
	lretq
zero_page_own_gdt:
	movq %rsi, %rdi
	movl $BOOT_ZERO_PAGE, %esi

enter_c:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $stack_top, %esp
	xorl %ebp, %ebp
	cld
	call guest_main
1:	hlt
	jmp 1b

/* Interrupts are let in only around hlt (irq_sleep), so the stubs need to do next to nothing. */
	.global irq_stub_timer
irq_stub_timer:
	incl irq_timer_count
	.global irq_stub_wake
irq_stub_wake:
	pushq %rax
	movl $LAPIC_EOI, %eax
	movl $0, (%rax)
	popq %rax
	iretq

/* The spurious vector of the local APIC must not be acknowledged. */
	.global irq_stub_spurious
irq_stub_spurious:
	iretq

	.data
	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff /* 8: 64-bit code */
	.quad 0x00cf93000000ffff /* 16: data */
gdt_pointer:
	.word . - gdt - 1
	.quad gdt

/*
 * The first 4 GiB identity mapped in 2 MiB pages, the last of them (devices, APICs) uncached. Written
 * out here since a loop would cost 2048 rounds of a guest that may be emulated.
 */
	.balign 4096
page_map:
	.quad page_pointers + 3
	.fill 511, 8, 0
page_pointers:
	.quad page_directory + 3, page_directory + 0x1003
	.quad page_directory + 0x2003, page_directory + 0x3003
	.fill 508, 8, 0
page_directory:
	.set address, 0
	.rept 1536
	.quad address + 0x83
	.set address, address + 0x200000
	.endr
	.rept 512
	.quad address + 0x9b
	.set address, address + 0x200000
	.endr

	.bss
	.balign 16
	.skip 8192
stack_top:

	.section .note.GNU-stack, "", @progbits
