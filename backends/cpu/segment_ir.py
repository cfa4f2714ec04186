"""The driver of a segment, as LLVM IR: it calls the kernels of a table, one after the other.

The table is data, so the same few instructions serve every graph: nothing is compiled for a
segment but its kernels. It is an array of int64, for each call:

    address of the kernel | number of buffers | address of the sizes | 1 if it may fail | slots...

where a slot is the number of a storage in the array of storage addresses.

Its one argument is a frame, six words that stay the same from run to run but for the third:

    address of the table | number of calls | address of the parallel struct or 0
    | address of the storage addresses | address of the status word | room for a call's addresses
"""

from __future__ import annotations

RUN = "graphc_run_segment"
RECORD_WORDS = 4
"""The words of a call's record before its slots."""

_TEXT = """\
define i64 @{name}(ptr %frame) {{
entry:
  %table = load ptr, ptr %frame
  %calls.at = getelementptr i64, ptr %frame, i64 1
  %calls = load i64, ptr %calls.at
  %parallel.at = getelementptr i64, ptr %frame, i64 2
  %parallel = load ptr, ptr %parallel.at
  %storages.at = getelementptr i64, ptr %frame, i64 3
  %storages = load ptr, ptr %storages.at
  %status.at = getelementptr i64, ptr %frame, i64 4
  %status = load ptr, ptr %status.at
  %args.at = getelementptr i64, ptr %frame, i64 5
  %args = load ptr, ptr %args.at
  %none = icmp eq i64 %calls, 0
  br i1 %none, label %done, label %call

call:
  %number = phi i64 [ 0, %entry ], [ %number.next, %next ]
  %record = phi ptr [ %table, %entry ], [ %record.next, %next ]
  %kernel = load ptr, ptr %record
  %count.at = getelementptr i64, ptr %record, i64 1
  %count = load i64, ptr %count.at
  %sizes.at = getelementptr i64, ptr %record, i64 2
  %sizes = load ptr, ptr %sizes.at
  %fails.at = getelementptr i64, ptr %record, i64 3
  %fails = load i64, ptr %fails.at
  %slots = getelementptr i64, ptr %record, i64 4
  br label %gather

gather:
  %i = phi i64 [ 0, %call ], [ %i.next, %gather ]
  %slot.at = getelementptr i64, ptr %slots, i64 %i
  %slot = load i64, ptr %slot.at
  %storage.at = getelementptr ptr, ptr %storages, i64 %slot
  %storage = load ptr, ptr %storage.at
  %arg.at = getelementptr ptr, ptr %args, i64 %i
  store ptr %storage, ptr %arg.at
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %count
  br i1 %more, label %gather, label %run

run:
  call void %kernel(ptr %args, ptr %sizes, ptr %parallel, ptr %status)
  %may.fail = icmp ne i64 %fails, 0
  br i1 %may.fail, label %check, label %next

check:
  %word = load i64, ptr %status
  %failed = icmp ne i64 %word, -1
  br i1 %failed, label %stop, label %next

stop:
  ret i64 %number

next:
  %record.next = getelementptr i64, ptr %slots, i64 %count
  %number.next = add i64 %number, 1
  %again = icmp ult i64 %number.next, %calls
  br i1 %again, label %call, label %done

done:
  ret i64 -1
}}
"""


def segment_ir() -> str:
    """The driver, ``int64_t graphc_run_segment(int64_t *frame)``.

    It returns -1, or the number of the call that failed, with the kernel's error in the status
    word.
    """
    return _TEXT.format(name=RUN)
