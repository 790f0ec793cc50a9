/**
 * Whom may the doctor ask outside?
 * Owns: the block `doctor:` from its declaration to the model and back.
 * Never: asks anybody.
 */
import type * as z from "zod";
import { Refusal, shown } from "../findings.ts";
import { block, text } from "../values/leaves.ts";

export interface DoctorConfig {
  /** An https:// address with `{port}` in it; undefined: nobody is asked. */
  prober: string | undefined;
}

const EXAMPLE = "https://ifconfig.co/port/{port}";

function proberRefusal(value: string): Refusal | undefined {
  const url = URL.parse(value.replaceAll("{port}", "443"));
  if (url?.protocol !== "https:" || url.username !== "") {
    return new Refusal(`${shown(value)} is not an https:// address`, `write ${EXAMPLE}`);
  }
  return value.includes("{port}")
    ? undefined
    : new Refusal(`${shown(value)} does not say where the port goes`, `write ${EXAMPLE}`);
}

export const doctorSchema = block("What gatehouse doctor may ask outside; docs/doctor.md.", {
  prober: text(
    {
      doc: 'Connects back to the port of who asks, and answers { "reachable": true }; {port} becomes 443 and 80. Left out, nobody is asked.',
      example: EXAMPLE,
    },
    proberRefusal,
  ).optional(),
});

export const resolveDoctor = ({ prober }: z.output<typeof doctorSchema>): DoctorConfig => ({ prober });

export const doctorOut = ({ prober }: DoctorConfig) => (prober === undefined ? undefined : { prober });
