/**
 * What did the doctor find when it last looked by itself?
 * Owns: the shape of that, as it travels over the admin socket.
 * Never: looks.
 */

/** Errors and warnings alone; `at` in ms since 1970. */
export interface DoctorLook {
  at: number;
  ok: boolean;
  /** What is broken, and the one thing to do next. */
  summary: string;
  findings: readonly {
    check: string;
    code: string;
    severity: string;
    subject: string | undefined;
    seen: string;
    next: string | undefined;
  }[];
}
