"""The LLVM IR of the thread pool, with the names and numbers of ``pool_ir`` still open (``$name``).

It is a file of its own because it is read as one text; why it is right is said in ``pool_ir``,
whose lettered steps the comments name.
"""

POOL = """
; Tasks are claimed, run and counted until none is left: steps (c), (d), (e), (h).
define internal void @graphc_pool.drain(ptr %pool) nounwind uwtable {
entry:
  %remaining = getelementptr i8, ptr %pool, i64 $remaining
  %left = load atomic i64, ptr %remaining monotonic, align 8
  %open = icmp sgt i64 %left, 0
  br i1 %open, label %enter, label %exit

enter:
  %first = atomicrmw sub ptr %remaining, i64 1 acquire, align 8
  %claimed = icmp sgt i64 %first, 0
  br i1 %claimed, label %job, label %exit

job:
  %body.at = getelementptr i8, ptr %pool, i64 $body
  %env.at = getelementptr i8, ptr %pool, i64 $env
  %tasks.at = getelementptr i8, ptr %pool, i64 $tasks
  %control.at = getelementptr i8, ptr %pool, i64 $float_control
  %body = load ptr, ptr %body.at, align 8
  %env = load ptr, ptr %env.at, align 8
  %tasks = load i64, ptr %tasks.at, align 8
  %control = load i64, ptr %control.at, align 8
  call void @graphc_pool.set_float_control(i64 %control)
  br label %run

run:
  %claim = phi i64 [ %first, %job ], [ %next, %run ]
  %done = phi i64 [ 0, %job ], [ %done.now, %run ]
  %task = sub i64 %tasks, %claim
  call void %body(ptr %env, i64 %task)
  %done.now = add i64 %done, 1
  %next = atomicrmw sub ptr %remaining, i64 1 acquire, align 8
  %more = icmp sgt i64 %next, 0
  br i1 %more, label %run, label %count

count:
  %pending = getelementptr i8, ptr %pool, i64 $pending
  %before = atomicrmw add ptr %pending, i64 %done.now seq_cst, align 8
  %after = add i64 %before, %done.now
  %last = icmp eq i64 %after, 0
  br i1 %last, label %finish, label %exit

finish:
  %waiting.at = getelementptr i8, ptr %pool, i64 $waiting
  %waiting = load atomic i32, ptr %waiting.at seq_cst, align 4
  %asleep = icmp ne i32 %waiting, 0
  br i1 %asleep, label %wake, label %exit

wake:
  store atomic i32 0, ptr %waiting.at seq_cst, align 4
  %woken = call i64 @graphc_pool.futex(ptr %waiting.at, i64 $futex_wake, i32 1)
  br label %exit

exit:
  ret void
}

; Whether *word reached floor within the time of spinning.
define internal i1 @graphc_pool.spin(ptr %word, i64 %floor) nounwind uwtable {
entry:
  %time = alloca [2 x i64], align 8
  br label %burst

burst:
  %start = phi i64 [ 0, %entry ], [ %start.now, %rest ], [ %start.now, %offer ]
  br label %round

round:
  %count = phi i64 [ 0, %burst ], [ %count.next, %pause ]
  %value = load atomic i64, ptr %word acquire, align 8
  %reached = icmp sge i64 %value, %floor
  br i1 %reached, label %yes, label %pause

pause:
  call void @graphc_pool.pause()
  %count.next = add i64 %count, 1
  %again = icmp slt i64 %count.next, $pauses
  br i1 %again, label %round, label %clock

clock:
  %status = call i32 @clock_gettime(i32 $clock_monotonic, ptr %time)
  %fraction.at = getelementptr i8, ptr %time, i64 8
  %seconds = load i64, ptr %time, align 8
  %fraction = load i64, ptr %fraction.at, align 8
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %fraction
  %fresh = icmp eq i64 %start, 0
  %start.now = select i1 %fresh, i64 %now, i64 %start
  %elapsed = sub i64 %now, %start.now
  %over = icmp sge i64 %elapsed, $spin
  br i1 %over, label %no, label %rest

rest:
  %polite = icmp sge i64 %elapsed, $yield
  br i1 %polite, label %offer, label %burst

offer:
  %yielded = call i32 @sched_yield()
  br label %burst

yes:
  ret i1 true

no:
  ret i1 false
}

; A worker's life: work, spin, sleep: step (f).
define internal ptr @graphc_pool.worker(ptr %pool) nounwind uwtable {
entry:
  %remaining = getelementptr i8, ptr %pool, i64 $remaining
  %sleep = getelementptr i8, ptr %pool, i64 $sleep
  %stop = getelementptr i8, ptr %pool, i64 $stop
  br label %work

work:
  call void @graphc_pool.drain(ptr %pool)
  %found = call i1 @graphc_pool.spin(ptr %remaining, i64 1)
  br i1 %found, label %work, label %announce

announce:
  %word.before = atomicrmw or ptr %sleep, i32 1 seq_cst, align 4
  %word = or i32 %word.before, 1
  %left = load atomic i64, ptr %remaining seq_cst, align 8
  %open = icmp sgt i64 %left, 0
  br i1 %open, label %work, label %check

check:
  %stopping = load atomic i32, ptr %stop seq_cst, align 4
  %leave = icmp ne i32 %stopping, 0
  br i1 %leave, label %exit, label %nap

nap:
  %status = call i64 @graphc_pool.futex(ptr %sleep, i64 $futex_wait, i32 %word)
  br label %work

exit:
  ret ptr null
}

; At most count sleeping workers are woken: steps (f), (g).
define internal void @graphc_pool.wake(ptr %pool, i64 %count) nounwind uwtable {
entry:
  %sleep = getelementptr i8, ptr %pool, i64 $sleep
  %word = load atomic i32, ptr %sleep seq_cst, align 4
  %odd = trunc i32 %word to i1
  br i1 %odd, label %wake, label %exit

wake:
  %before = atomicrmw add ptr %sleep, i32 1 seq_cst, align 4
  %number = trunc i64 %count to i32
  %woken = call i64 @graphc_pool.futex(ptr %sleep, i64 $futex_wake, i32 %number)
  %workers.at = getelementptr i8, ptr %pool, i64 $workers
  %workers = load i64, ptr %workers.at, align 8
  %served = icmp sge i64 %woken, %count
  %partial = icmp slt i64 %count, %workers
  %more = and i1 %served, %partial
  br i1 %more, label %mark, label %exit

mark:
  %marked = atomicrmw or ptr %sleep, i32 1 seq_cst, align 4
  br label %exit

exit:
  ret void
}

define internal i64 @graphc_pool.futex(ptr %word, i64 %operation, i32 %value) nounwind uwtable {
  %wide = zext i32 %value to i64
  %result = call i64 (i64, ...) @syscall(i64 $futex, ptr %word, i64 %operation, i64 %wide, ptr null)
  ret i64 %result
}

define void @$PARALLEL(ptr %pool, ptr %body, ptr %env, i64 %tasks) nounwind uwtable {
entry:
  %none = icmp eq ptr %pool, null
  %few = icmp sle i64 %tasks, 1
  %alone = or i1 %none, %few
  br i1 %alone, label %serial, label %ask

ask:
  %workers.at = getelementptr i8, ptr %pool, i64 $workers
  %workers = load i64, ptr %workers.at, align 8
  %idle = icmp eq i64 %workers, 0
  br i1 %idle, label %serial, label %take

take:
  %busy = getelementptr i8, ptr %pool, i64 $busy
  %taking = cmpxchg ptr %busy, i32 0, i32 1 acquire monotonic, align 4
  %taken = extractvalue { i32, i1 } %taking, 1
  br i1 %taken, label %publish, label %serial

publish:
  call void @graphc_pool.settle(ptr %pool)
  %body.at = getelementptr i8, ptr %pool, i64 $body
  %env.at = getelementptr i8, ptr %pool, i64 $env
  %tasks.at = getelementptr i8, ptr %pool, i64 $tasks
  %control.at = getelementptr i8, ptr %pool, i64 $float_control
  %remaining = getelementptr i8, ptr %pool, i64 $remaining
  %pending = getelementptr i8, ptr %pool, i64 $pending
  %waiting = getelementptr i8, ptr %pool, i64 $waiting
  %control = call i64 @graphc_pool.float_control()
  %undone = sub i64 0, %tasks
  store ptr %body, ptr %body.at, align 8
  store ptr %env, ptr %env.at, align 8
  store i64 %tasks, ptr %tasks.at, align 8
  store i64 %control, ptr %control.at, align 8
  store atomic i64 %undone, ptr %pending monotonic, align 8
  store atomic i64 %tasks, ptr %remaining seq_cst, align 8
  %others = sub i64 %tasks, 1
  %enough = icmp slt i64 %others, %workers
  %helpers = select i1 %enough, i64 %others, i64 %workers
  call void @graphc_pool.wake(ptr %pool, i64 %helpers)
  call void @graphc_pool.drain(ptr %pool)
  br label %wait

wait:
  %done = call i1 @graphc_pool.spin(ptr %pending, i64 0)
  br i1 %done, label %leave, label %announce

announce:
  store atomic i32 1, ptr %waiting seq_cst, align 4
  %left = load atomic i64, ptr %pending seq_cst, align 8
  %settled = icmp sge i64 %left, 0
  br i1 %settled, label %leave, label %nap

nap:
  %status = call i64 @graphc_pool.futex(ptr %waiting, i64 $futex_wait, i32 1)
  br label %wait

leave:
  store atomic i32 0, ptr %waiting monotonic, align 4
  store atomic i32 0, ptr %busy release, align 4
  br label %exit

serial:
  %task = phi i64 [ 0, %entry ], [ 0, %ask ], [ 0, %take ], [ %task.next, %call ]
  %more = icmp slt i64 %task, %tasks
  br i1 %more, label %call, label %exit

call:
  call void %body(ptr %env, i64 %task)
  %task.next = add i64 %task, 1
  br label %serial

exit:
  ret void
}

define ptr @$CREATE(i64 %threads) nounwind uwtable {
entry:
  %mask = alloca [16 x i64], align 8
  %mask.before = alloca [16 x i64], align 8
  %valid = icmp sgt i64 %threads, 0
  br i1 %valid, label %allocate, label %refuse

allocate:
  %bytes.threads = mul i64 %threads, 8
  %bytes.exact = add i64 %bytes.threads, $header
  %bytes = and i64 %bytes.exact, $line_mask
  %pool = call ptr @aligned_alloc(i64 $line, i64 %bytes)
  %exhausted = icmp eq ptr %pool, null
  br i1 %exhausted, label %refuse, label %fill

fill:
  call void @llvm.memset.p0.i64(ptr align 8 %pool, i8 0, i64 %bytes, i1 false)
  ; Only where every thread can have a core of its own do workers keep away from the caller's.
  %allowed = getelementptr i8, ptr %pool, i64 $allowed
  %home.at = getelementptr i8, ptr %pool, i64 $home
  store i32 -1, ptr %home.at, align 4
  %asked = call i32 @sched_getaffinity(i32 0, i64 128, ptr %allowed)
  %cores.set = load <16 x i64>, ptr %allowed, align 8
  %cores.each = call <16 x i64> @llvm.ctpop.v16i64(<16 x i64> %cores.set)
  %cores.sum = call i64 @llvm.vector.reduce.add.v16i64(<16 x i64> %cores.each)
  %cores.enough = icmp sge i64 %cores.sum, %threads
  %cores = select i1 %cores.enough, i64 %cores.sum, i64 0
  %cores.at = getelementptr i8, ptr %pool, i64 $cores
  store i64 %cores, ptr %cores.at, align 8
  ; Workers inherit the mask: a signal of the process is delivered to its own threads.
  call void @llvm.memset.p0.i64(ptr align 8 %mask, i8 -1, i64 128, i1 false)
  store i64 $signals, ptr %mask, align 8
  %masked = call i32 @pthread_sigmask(i32 $sig_setmask, ptr %mask, ptr %mask.before)
  %workers.at = getelementptr i8, ptr %pool, i64 $workers
  %threads.at = getelementptr i8, ptr %pool, i64 $threads
  br label %start

start:
  %started = phi i64 [ 0, %fill ], [ %started.now, %count ]
  %started.now = add i64 %started, 1
  %more = icmp slt i64 %started.now, %threads
  br i1 %more, label %spawn, label %ready

spawn:
  %thread = getelementptr i64, ptr %threads.at, i64 %started
  %status = call i32 @pthread_create(ptr %thread, ptr null, ptr @graphc_pool.worker, ptr %pool)
  %failed = icmp ne i32 %status, 0
  br i1 %failed, label %abandon, label %count

count:
  store i64 %started.now, ptr %workers.at, align 8
  br label %start

ready:
  %unmasked = call i32 @pthread_sigmask(i32 $sig_setmask, ptr %mask.before, ptr null)
  ret ptr %pool

abandon:
  %restored = call i32 @pthread_sigmask(i32 $sig_setmask, ptr %mask.before, ptr null)
  call void @$DESTROY(ptr %pool)
  ret ptr null

refuse:
  ret ptr null
}

; Step (i).
define void @$DESTROY(ptr %pool) nounwind uwtable {
entry:
  %none = icmp eq ptr %pool, null
  br i1 %none, label %exit, label %halt

halt:
  %stop = getelementptr i8, ptr %pool, i64 $stop
  %workers.at = getelementptr i8, ptr %pool, i64 $workers
  %threads.at = getelementptr i8, ptr %pool, i64 $threads
  store atomic i32 1, ptr %stop seq_cst, align 4
  call void @graphc_pool.wake(ptr %pool, i64 $everybody)
  %workers = load i64, ptr %workers.at, align 8
  br label %next

next:
  %index = phi i64 [ 0, %halt ], [ %index.next, %join ]
  %more = icmp slt i64 %index, %workers
  br i1 %more, label %join, label %release

join:
  %thread.at = getelementptr i64, ptr %threads.at, i64 %index
  %thread = load i64, ptr %thread.at, align 8
  %joined = call i32 @pthread_join(i64 %thread, ptr null)
  %index.next = add i64 %index, 1
  br label %next

release:
  call void @free(ptr %pool)
  br label %exit

exit:
  ret void
}

declare ptr @aligned_alloc(i64, i64)
declare void @free(ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare signext i32 @clock_gettime(i32 signext, ptr)
declare signext i32 @sched_yield()
declare i64 @syscall(i64, ...)
declare signext i32 @pthread_create(ptr, ptr, ptr, ptr)
declare signext i32 @pthread_join(i64, ptr)
declare <16 x i64> @llvm.ctpop.v16i64(<16 x i64>)
declare i64 @llvm.vector.reduce.add.v16i64(<16 x i64>)
declare signext i32 @sched_getaffinity(i32 signext, i64, ptr)
declare signext i32 @pthread_sigmask(i32 signext, ptr, ptr)
"""
