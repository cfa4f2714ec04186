"""Where the pool's workers run, as LLVM IR like ``pool_text``: step (j) of ``pool_ir``."""

SETTLE = """
; Workers leave the caller's core to it: step (j).
define internal void @graphc_pool.settle(ptr %pool) nounwind uwtable {
entry:
  %mask = alloca [16 x i64], align 8
  %cores.at = getelementptr i8, ptr %pool, i64 $cores
  %cores = load i64, ptr %cores.at, align 8
  %free = icmp ne i64 %cores, 0
  br i1 %free, label %look, label %exit

look:
  %home.at = getelementptr i8, ptr %pool, i64 $home
  %home = load i32, ptr %home.at, align 4
  %core = call i32 @sched_getcpu()
  %same = icmp eq i32 %core, %home
  %known = icmp ult i32 %core, 1024
  %moved = xor i1 %same, true
  %settle = and i1 %moved, %known
  br i1 %settle, label %exclude, label %exit

exclude:
  store i32 %core, ptr %home.at, align 4
  %allowed = getelementptr i8, ptr %pool, i64 $allowed
  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %mask, ptr align 8 %allowed, i64 128, i1 false)
  %index.word = lshr i32 %core, 6
  %index.bit = and i32 %core, 63
  %word.at = getelementptr i64, ptr %mask, i32 %index.word
  %shift = zext i32 %index.bit to i64
  %bit = shl i64 1, %shift
  %others = xor i64 %bit, -1
  %word = load i64, ptr %word.at, align 8
  %without = and i64 %word, %others
  store i64 %without, ptr %word.at, align 8
  %workers.at = getelementptr i8, ptr %pool, i64 $workers
  %threads.at = getelementptr i8, ptr %pool, i64 $threads
  %workers = load i64, ptr %workers.at, align 8
  br label %next

next:
  %index = phi i64 [ 0, %exclude ], [ %index.next, %move ]
  %more = icmp slt i64 %index, %workers
  br i1 %more, label %move, label %exit

move:
  %thread.at = getelementptr i64, ptr %threads.at, i64 %index
  %thread = load i64, ptr %thread.at, align 8
  %status = call i32 @pthread_setaffinity_np(i64 %thread, i64 128, ptr %mask)
  %index.next = add i64 %index, 1
  br label %next

exit:
  ret void
}

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare signext i32 @sched_getcpu()
declare signext i32 @pthread_setaffinity_np(i64, i64, ptr)
"""
