"""What people read on the screen, in their language: the English text is the key, `KOREAN` holds the Korean one.

JSON, CSV, file names and the messages on stderr are always English.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from docclf_cli.streams import is_utf8
from docclf_cli.text import Message

LANGUAGES = ("en", "ko")
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # in the order of POSIX

_GAIN = (
    "On {pages} pages that no trial saw: log loss {loss:+.4f} (95 % {low:+.4f} … {high:+.4f}), macro-F1 {f1:+.1f} points "
    "({f1_low:+.1f} … {f1_high:+.1f}). "
)
_GAIN_KO = (
    "어느 시도도 보지 않은 페이지 {pages}장: 로그 손실 {loss:+.4f} (95 % {low:+.4f} … {high:+.4f}), F1 점수 (Macro) {f1:+.1f}점 "
    "({f1_low:+.1f} … {f1_high:+.1f}). "
)

KOREAN: Mapping[str, str] = {
    # tables of classes and metrics, in the words of the earlier framework
    "class": "클래스",
    "accuracy": "정확도",
    "precision": "정밀도",
    "F1": "F1 점수",
    "loss": "손실",
    "samples": "샘플 수",
    "metric": "지표",
    "value": "값",
    "95 % interval": "95 % 구간",
    "unreadable pages, left out": "읽을 수 없어 제외한 페이지",
    "Held-out pages by class (accuracy is recall)": "검증 페이지의 클래스별 성능 요약 (정확도는 재현율)",
    "{split} pages by class (accuracy is recall)": "{split} 페이지의 클래스별 성능 요약 (정확도는 재현율)",
    "Held-out pages: {count} pages": "검증 페이지 {count}장 전체",
    "{source}, {split}: {count} pages": "{source}, {split}: {count}페이지",
    "{source}, {split}: {count} documents": "{source}, {split}: 문서 {count}건",
    "Held-out documents: {count} documents": "검증 문서 {count}건 전체",
    "unreadable documents, left out": "읽을 수 없어 제외한 문서",
    "{source}, {split}, computed in {precision}: {count} pages": "{source}, {split}, {precision}: {count}페이지",
    "! weak: F1 below {f1}, or surely below the mean of the classes": "! 약함: F1 점수가 {f1}보다 낮거나 클래스 평균보다 확실히 낮음",
    "accuracy (recall)": "정확도 (재현율)",
    "balanced accuracy": "균형 정확도",
    "macro-F1": "F1 점수 (Macro)",
    "weighted F1": "F1 점수 (Weighted)",
    "log loss": "로그 손실",
    "top-1 accuracy": "상위 1개 정확도",
    "top-2 accuracy": "상위 2개 정확도",
    "top-3 accuracy": "상위 3개 정확도",
    "calibration error (ECE, approximate)": "보정 오차 (ECE, 근사)",
    "{metrics}: the value lies at the edge of its interval, because on more pages, classes that have no hit (or no error) "
    "so far would get some.": "{metrics}: 값이 구간의 끝에 있습니다. 아직 맞힌 페이지(또는 틀린 페이지)가 없는 클래스도 페이지가 더 많으면 생기기 때문입니다.",
    # image and text
    "Image and text": "이미지와 텍스트",
    "side": "근거",
    "image": "이미지",
    "text": "텍스트",
    "both": "둘 다",
    "documents": "문서",
    # one class, confused classes
    "{name} (class {index}), {split} pages of {source}": "{name} (클래스 {index}), {split} 페이지: {source}",
    "mean loss": "평균 손실",
    "training − validation": "학습 − 검증",
    "over-fits": "과적합",
    "Its pages that were predicted as another class": "다른 클래스로 예측된 이 클래스의 페이지",
    "Pages of other classes that were predicted as it": "이 클래스로 예측된 다른 클래스의 페이지",
    "Most confused classes": "가장 많이 혼동한 클래스",
    "true class → predicted class": "실제 클래스 → 예측 클래스",
    "pages": "페이지",
    "share": "비율",
    "such as {page}": "예: {page}",
    "difference": "차이",
    "Over-fitting: no class has a significantly higher accuracy on training pages": "과적합: 학습 페이지에서 정확도가 유의하게 높은 클래스는 없습니다",
    "Over-fitting: {count} of {total} classes (accuracy on training − validation pages)": "과적합: {total}개 클래스 가운데 {count}개 (학습 − 검증 페이지의 정확도)",
    # summary of a run
    "Run": "실험 요약",
    "run": "실험",
    "model": "모델",
    "best epoch": "최고 에포크",
    "{epoch} of {epochs}, chosen by {monitor}": "{epochs} 가운데 {epoch}, {monitor} 기준",
    "macro-F1 on training pages": "학습 페이지의 F1 점수 (Macro)",
    "macro-F1 on degraded pages": "손상시킨 페이지의 F1 점수 (Macro)",
    "{value:.4f} (gap {gap:+.4f})": "{value:.4f} (차이 {gap:+.4f})",
    "temperature": "온도",
    "number format for predicting": "예측에 쓰는 숫자 형식",
    "number format": "숫자 형식",
    "stored in S3": "S3에 저장함",
    "calibration error before temperature scaling (T = {temperature:.2f})": "온도 보정 전의 보정 오차 (T = {temperature:.2f})",
    "Folds": "폴드",
    "fold": "폴드",
    "mean ± sd": "평균 ± 표준편차",
    "Files": "파일",
    "Next": "다음 단계",
    # pages that were predicted
    "Pages": "페이지",
    "page": "페이지",
    "confidence": "확신도",
    "review": "검토",
    "unknown": "미등록 종류",
    "unreadable": "읽을 수 없음",
    "Pages by class ({count})": "클래스별 페이지 수 ({count})",
    "needs review": "검토 필요",
    "files, pages": "파일, 페이지",
    "{count} of {total} pages ({share})": "{total}페이지 가운데 {count} ({share})",
    "confidence threshold": "확신도 기준",
    "one for each member": "멤버마다 하나",
    "heat maps": "히트맵",
    "copied files": "복사한 파일",
    "pages turned upright": "바로 세운 페이지",
    "copied as they lie": "돌리지 않고 복사함",
    "{count} files, which cannot be turned without loss": "무손실로 돌릴 수 없는 파일 {count}개",
    "resumed": "이어서 함",
    "{count} pages were predicted before the interruption": "{count}페이지는 중단 전에 예측했습니다",
    "part": "부분",
    "joined parts": "합친 부분",
    "{parts} of {of}, in {folder}": "{of}개 가운데 {parts}번째, 위치: {folder}",
    "made by others": "다른 프로세스가 하는 부분",
    "when all parts are there: {command}": "모든 부분이 준비되면: {command}",
    "speed": "속도",
    "{rate} pages/s": "초당 {rate}페이지",
    # evaluate: comparison, threshold, unknown pages, costs, corruptions
    "Compared with {other} on the same {pages} pages": "같은 {pages}페이지에서 {other}와 비교",
    "McNemar's test": "맥니마 검정",
    "about accuracy": "정확도 기준",
    "about accuracy, by group": "정확도 기준, 그룹 단위",
    "left out": "제외",
    "{count} pages that the other model was trained on or does not know": "상대 모델이 학습했거나 모르는 {count}페이지",
    "no significant difference": "유의한 차이 없음",
    "better by {size:.1f} points of {metric}, 95 % {near:.1f} … {far:.1f}": "{metric} {size:.1f}점 높음, 95 % {near:.1f} … {far:.1f}",
    "worse by {size:.1f} points of {metric}, 95 % {near:.1f} … {far:.1f}": "{metric} {size:.1f}점 낮음, 95 % {near:.1f} … {far:.1f}",
    "better by {size:.3f} of {metric}, 95 % {near:.3f} … {far:.3f}": "{metric} {size:.3f}만큼 나음, 95 % {near:.3f} … {far:.3f}",
    "worse by {size:.3f} of {metric}, 95 % {near:.3f} … {far:.3f}": "{metric} {size:.3f}만큼 나쁨, 95 % {near:.3f} … {far:.3f}",
    "Confidence threshold for {target:g} % precision": "정밀도 {target:g} %를 위한 확신도 기준",
    "decided": "자동 처리",
    "coverage": "처리율",
    "held-out, clean and degraded (used to choose the threshold)": "검증 페이지, 원본과 손상본 (기준을 고른 페이지)",
    "held-out (used to choose the threshold)": "검증 페이지 (기준을 고른 페이지)",
    "{split} (same pages: precision is optimistic)": "{split} (같은 페이지: 정밀도가 높게 나옴)",
    "{count} {split} pages, least confident first in {file}": "{split} {count}페이지, 확신도가 낮은 순서로 {file}에",
    "condition": "조건",
    "classes never decided": "한 번도 자동 처리되지 않은 클래스",
    "none: {target:g} % among {share:g} % unknown pages cannot be shown with these pages": "없음: 미등록 종류가 {share:g} %일 때 {target:g} %는 이 페이지로 보일 수 없습니다",
    "none: this model does not reach {target:g} % precision at any confidence; more pages would not help": "없음: 이 모델은 어떤 확신도에서도 정밀도 {target:g} %에 이르지 못하며, 페이지를 늘려도 달라지지 않습니다",
    "unknown: about {count} more held-out pages are needed": "알 수 없음: 검증 페이지가 약 {count}장 더 필요합니다",
    "Unknown pages: each class left out in turn": "미등록 종류: 클래스를 하나씩 빼고 시험",
    "held-out pages": "검증 페이지",
    "called unknown": "미등록 종류로 판정",
    "known pages lost (at most {share:.1%} asked)": "잃은 등록 페이지 (허용 {share:.1%})",
    "of their degraded copies": "손상본 가운데",
    "Foreign pages: {pages} of {source}, against {known} held-out pages": "다른 종류의 페이지: {source}의 {pages}장, 검증 페이지 {known}장과 비교",
    "foreign": "다른 종류",
    "held-out": "검증",
    "confidence of .95 or more": "확신도 .95 이상",
    "the same, and not called unknown": "그중 미등록으로 판정되지 않은 것",
    "AUROC of confidence alone": "확신도만의 AUROC",
    "Cost of 1,000 pages: {decided} of {pages} pages are decided, the others reviewed": "1,000페이지의 비용: {pages}페이지 가운데 {decided}장은 자동 처리, 나머지는 검토",
    "cost": "비용",
    "decided by expected cost": "기대 비용으로 결정",
    "everything sent to a person": "모두 사람이 검토",
    "saved": "절감",
    "expected by the model": "모델의 기대값",
    "Metrics by corruption: {pages} of {total} pages, corruptions version {version}": "손상별 지표: {total}페이지 가운데 {pages}장, 손상 목록 버전 {version}",
    "corruption": "손상",
    "macro-F1 − clean": "F1 점수 (Macro) − 원본",
    "These pages chose no epoch: the last one is taken (train.monitor: epoch).": "이 페이지로 에포크를 고르지 않았습니다: 마지막 에포크를 씁니다 (train.monitor: epoch).",
    # ensemble and tta
    "compared with {name}, the best member on held-out pages": "검증 페이지에서 가장 좋은 멤버 {name}와 비교",
    "{name}: compared with {method} without views": "{name}: 뷰 없는 {method}와 비교",
    "compared with the unchanged page": "바꾸지 않은 페이지와 비교",
    "Dropped views: {dropped}. Merged views: {merged}": "뺀 뷰: {dropped}. 합친 뷰: {merged}",
    "Written: {name}, {pages} {split} pages, computed in {precision}": "저장함: {name}, {split} {pages}페이지, {precision}으로 계산",
    "{pages} held-out pages": "검증 페이지 {pages}장",
    "{pages} test pages": "테스트 페이지 {pages}장",
    "{metric} in percentage points": "{metric} (백분율 점)",
    "Δ: {what}, {versus}; all intervals are 95 % intervals": "Δ: {what}, {versus}. 모든 구간은 95 % 구간입니다",
    "Weights": "가중치",
    "Member diversity ({pages} pages)": "멤버의 다양성 ({pages}페이지)",
    "members": "멤버",
    "disagree": "불일치",
    "errors correlate": "오류 상관",
    "It is unknown whether {what} is worth its cost: there are no labelled held-out pages.": "{what}의 값어치를 알 수 없습니다: 라벨이 있는 검증 페이지가 없습니다.",
    # audit
    "Pages by class": "클래스별 페이지",
    "groups": "그룹",
    "Outliers": "이상 페이지",
    "kind<": "종류<",
    "split<": "분할<",
    "Near duplicates": "중복에 가까운 페이지",
    "page, and its near duplicate": "페이지와 그 중복",
    "alike": "유사도",
    "labels differ": "라벨이 다름",
    "across splits": "분할에 걸침",
    "Label issues": "라벨 문제",
    "given → suggested": "현재 → 제안",
    "p(given)": "p(현재)",
    "p(suggested)": "p(제안)",
    "{label} (from data.relabel)": "{label} (data.relabel에서)",
    "Audit": "데이터 점검",
    "data": "데이터",
    "largest to smallest class": "가장 큰 클래스 대 가장 작은 클래스",
    "{ratio:.1f} to 1": "{ratio:.1f} 대 1",
    "{pairs} pairs, {differ} with different labels, {across} across splits; {groups} groups": "{pairs}쌍, 라벨이 다른 것 {differ}쌍, 분할에 걸친 것 {across}쌍; {groups}그룹",
    "near duplicates": "중복에 가까운 페이지",
    "none": "없음",
    "labels": "라벨",
    "not checked; to check them, name a folds run with --run (`docclf train --folds 5` makes one)": "점검하지 않음. 점검하려면 --run으로 폴드 실험을 지정하십시오 (`docclf train --folds 5`로 만듭니다)",
    "not checked by {run}: {reason}": "{run}으로 점검하지 않음: {reason}",
    "{issues} issues on {pages} pages (about {expected:.0f} wrong labels expected, 95 % {low:.0f} to {high:.0f}), found by {run}": "{pages}페이지에서 {issues}건 (틀린 라벨 예상 약 {expected:.0f}개, 95 % {low:.0f}에서 {high:.0f}), {run}이 찾음",
    "outliers": "이상 페이지",
    "next": "다음 단계",
    "train with {options}": "학습: {options}",
    "look at the pages in the browser: {command}": "브라우저에서 페이지를 보십시오: {command}",
    "{train}, which takes all suggestions unseen": "{train} (모든 제안을 보지 않고 받아들임)",
    "{look}\nor {train}": "{look}\n또는 {train}",
    "{title}: the first {shown} of {count}": "{title}: {count}건 가운데 처음 {shown}건",
    # packets
    "Documents in packets": "묶음 속의 문서",
    "packet": "묶음",
    "cuts": "경계",
    "may begin or not: a document on page {pages}": "문서가 시작되는지 불확실한 페이지: {pages}",
    "packets, pages": "묶음, 페이지",
    "documents found": "찾은 문서",
    "uncertain cuts": "불확실한 경계",
    "cuts decided by people": "사람이 정한 경계",
    "never": "없음",
    "with text": "글자가 있는 페이지",
    "by image": "이미지만 있는 페이지",
    "joined at {join}, cut at {cut} ({precision} right on held-out documents)": "{join}이면 잇고 {cut}이면 나눔 (검증 문서에서 {precision} 맞음)",
    "pages with text": "글자를 읽은 페이지",
    "signatures that hold for no part": "나눈 문서에는 유효하지 않은 서명",
    "files written": "쓴 파일",
    # search for settings
    "Trials, the best first": "시도, 가장 좋은 것부터",
    "trial": "시도",
    "minutes": "분",
    " (start)": " (시작)",
    "complete": "완료",
    "pruned": "조기 종료",
    "failed": "실패",
    "running": "진행 중",
    "{count} more trials are in the table of trials.csv": "나머지 시도 {count}개는 trials.csv 표에 있습니다",
    "Importance": "중요도",
    "parameter": "설정",
    "Settings of the best trial": "가장 좋은 시도의 설정",
    "start": "시작",
    "best": "최고",
    "None of {count} complete trials is better than the starting profile: log loss {loss:.4f} on {pages} held-out pages.": "완료된 시도 {count}개 가운데 시작 프로파일보다 나은 것이 없습니다: 검증 페이지 {pages}장에서 로그 손실 {loss:.4f}.",
    "Trial {best} is the best of {count} complete ones: log loss {loss:.4f} on {pages} held-out pages, and the starting profile has "
    "{start}. These pages chose it, so this gain is too good.": "완료된 시도 {count}개 가운데 {best}번이 가장 좋습니다: 검증 페이지 {pages}장에서 로그 손실 {loss:.4f}, 시작 프로파일은 {start}. 이 페이지로 골랐으므로 이 차이는 실제보다 좋게 보입니다.",
    "Importance of the parameters is told from {count} complete trials on.": "설정의 중요도는 완료된 시도가 {count}개 이상일 때 보여 줍니다.",
    "Whether it gains anything on new pages is not known: {pages} pages were set apart, and {fewest} are needed.": "새 페이지에서 나아지는지는 알 수 없습니다: 따로 둔 페이지가 {pages}장이고, {fewest}장이 필요합니다.",
    _GAIN + "The gain over the starting profile is shown.": _GAIN_KO + "시작 프로파일보다 나아진 것이 확인되었습니다.",
    _GAIN + "There the starting profile is better: keep it.": _GAIN_KO
    + "여기서는 시작 프로파일이 더 낫습니다: 그대로 쓰십시오.",
    _GAIN + "A gain over the starting profile is not shown.": _GAIN_KO + "시작 프로파일보다 나아졌다고 볼 수 없습니다.",
    # distillation
    "Student and teachers": "학생과 교사",
    "student": "학생",
    "teachers": "교사",
    "clean": "깨끗한 페이지",
    "degraded": "손상시킨 페이지",
    "networks": "네트워크",
    "million parameters": "파라미터 (백만)",
    "pages per second": "초당 페이지",
    "{pages} held-out pages ({kind}): macro-F1 {f1:+.1f} points against the teachers (95 % {low:+.1f} … {high:+.1f}), log loss "
    "{loss:+.3f} ({loss_low:+.3f} … {loss_high:+.3f}).": "검증 페이지 {pages}장 ({kind}): 교사와 비교해 F1 점수 (Macro) {f1:+.1f}점 (95 % {low:+.1f} … {high:+.1f}), 로그 손실 {loss:+.3f} ({loss_low:+.3f} … {loss_high:+.3f}).",
    "No page is held out from the student and from all teachers, so they are not compared.": "학생과 모든 교사가 함께 검증에 남긴 페이지가 없어 비교하지 않습니다.",
    "Networks alone: {student:.0f} pages per second against {teacher:.0f}, {factor:.1f} times as many; {parameters:.1f} against "
    "{others:.1f} million parameters.": "네트워크만: 초당 {student:.0f}페이지, 교사는 {teacher:.0f}페이지({factor:.1f}배); 파라미터 {parameters:.1f}백만, 교사는 {others:.1f}백만.",
    "The folds of a teacher were trained on pages that the student held out, and taught it on the others: the student's figures on "
    "held-out pages may be slightly too good. Test pages are in neither.": "교사의 폴드는 학생의 검증 페이지로도 학습했고 다른 페이지에서 학생을 가르쳤습니다: 검증 페이지에서 학생의 수치가 조금 좋게 보일 수 있습니다. 시험 페이지는 어느 쪽에도 없습니다.",
    # verdict
    "Verdict": "판정",
    "Clearly better than chance; no sign of too few pages, too short a training or over-fitting.": "우연보다 확실히 낫습니다. 페이지 부족, 짧은 학습, 과적합의 조짐이 없습니다.",
    "Too few pages to tell: macro-F1 {f1:.2f} on {pages} may be anything from {low:.2f} to {high:.2f}.": "판단하기에는 페이지가 너무 적습니다: {count}페이지에서 F1 점수 (Macro) {f1:.2f}이지만 {low:.2f}에서 {high:.2f} 사이 어디든 될 수 있습니다.",
    "label more pages": "페이지에 라벨을 더 다십시오",
    "label more pages, or let each page be held out once: --folds 5": "페이지에 라벨을 더 달거나, 모든 페이지를 한 번씩 검증에 쓰십시오: --folds 5",
    "The recipe does not suit a model without pretrained weights: the augmentation '{augmentation}' makes pages too hard "
    "to learn from.": "사전 학습 가중치가 없는 모델에 맞지 않는 설정입니다: '{augmentation}' 증강을 거친 페이지는 배우기에 너무 어렵습니다.",
    "docclf train --data {data} --profile scratch": "docclf train --data {data} --profile scratch",
    "Too few pages to tell: on {pages} even a perfect model could not be told from chance.": "판단하기에는 페이지가 너무 적습니다: 검증 페이지 {count}장으로는 완벽한 모델도 우연과 구별할 수 없습니다.",
    "No better than chance: {agreement:.0%} of {pages} are right, and by chance {chance:.0%} would be.": "우연보다 낫지 않습니다: 검증 페이지 {count}장 가운데 {agreement:.0%}를 맞혔고, 우연이라면 {chance:.0%}입니다.",
    "train longer (--epochs), start from pretrained weights (--pretrained), and look for wrong labels: docclf audit. "
    "Commands that are given no run do not pick this one": "더 오래 학습하고(--epochs), 사전 학습 가중치에서 시작하고(--pretrained), 잘못된 라벨을 찾으십시오: docclf audit. 실험을 지정하지 않은 명령은 이 실험을 고르지 않습니다",
    "Never predicted: {names}.": "한 번도 예측되지 않은 클래스: {names}.",
    "Never predicted: {names} and {more} more.": "한 번도 예측되지 않은 클래스: {names} 외 {more}개.",
    "label more of their pages, and see what they are taken for: {command}": "이 클래스의 페이지에 라벨을 더 달고, 어떤 클래스로 예측되는지 보십시오: {command}",
    "Under-fitted: macro-F1 is as low on the training pages ({train:.2f}) as on held-out ones ({val:.2f}).": "과소적합: 학습 페이지의 F1 점수 (Macro) {train:.2f}이 검증 페이지({val:.2f})만큼 낮습니다.",
    "train longer (--epochs {epochs}), or at another learning rate (--lr)": "더 오래 학습하거나(--epochs {epochs}) 학습률을 바꾸십시오(--lr)",
    "Over-fitted: macro-F1 is {train:.2f} on training pages and {val:.2f} on held-out ones.": "과적합: F1 점수 (Macro)가 학습 페이지에서 {train:.2f}, 검증 페이지에서 {val:.2f}입니다.",
    "label more pages, or vary them more (--augmentation document)": "페이지에 라벨을 더 달거나 증강을 늘리십시오(--augmentation document)",
    "The best epoch is the last one: the model was still learning.": "마지막 에포크가 가장 좋습니다: 모델이 아직 배우는 중이었습니다.",
    "train longer: --epochs {epochs}": "더 오래 학습하십시오: --epochs {epochs}",
    # notes below the metrics
    "These pages chose the best epoch (by {monitor}), so the metrics are slightly optimistic: by about one point of "
    "macro-F1 on 100 pages. Use --split test for an unbiased estimate.": "이 페이지로 최고 에포크를 골랐으므로({monitor} 기준) 수치가 조금 높습니다: 100페이지에서 F1 점수 (Macro) 약 1점. 치우침 없는 "
    "수치는 --split test로 구하십시오.",
    "Log loss and calibration error are cross-fitted: each page uses a temperature that was fitted on other pages.": "로그 손실과 보정 오차는 교차 적합한 값입니다: 페이지마다 다른 페이지로 맞춘 온도를 씁니다.",
    "Each page was predicted by the one fold that was not trained on it; new pages get the mean of all folds.": "각 페이지는 그 페이지로 학습하지 않은 폴드가 예측했습니다. 새 페이지에는 모든 폴드의 평균을 씁니다.",
    "Instead of that mean, `docclf predict` takes refit.ckpt, which was trained on all pages and measured on none.": "`docclf predict`는 그 평균 대신 모든 페이지로 학습한 refit.ckpt를 씁니다. 그 모델을 잰 페이지는 없습니다.",
    "The model was trained on these pages, so the metrics do not show how good it is on new pages.": "이 페이지로 학습했으므로, 새 페이지에서 얼마나 좋은지는 알 수 없습니다.",
    "The temperature is at a limit of its search range ({low:g} to {high:g}): do not read this model's confidence as a "
    "probability.": "온도가 탐색 범위의 끝({low:g}에서 {high:g})에 있습니다: 이 모델의 확신도를 확률로 읽지 마십시오.",
}

_chosen: str | None = None


def choose_language(name: str | None) -> None:
    """Show texts in a language of `LANGUAGES`; None is the one of the environment."""
    global _chosen
    _chosen = name


def language() -> str:
    """The language of tables: the chosen one, else Korean where the environment asks for it and the output can hold it."""
    if _chosen is not None:
        return _chosen
    locale = next(filter(None, map(os.environ.get, _VARIABLES)), "")
    return "ko" if locale.lower().startswith("ko") and is_utf8(sys.stdout) else "en"


def said(text: str, **values: object) -> str:
    """A text of the catalogue with its values, or a `Message`, in the language of the user."""
    if isinstance(text, Message):
        values = dict(text.values)
        text = text.template
    template = KOREAN.get(text, text) if language() == "ko" else text
    return template.format(**values) if values else template
